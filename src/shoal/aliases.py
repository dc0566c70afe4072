"""One Lightning under both of its names: `import lightning` and `import pytorch_lightning` give the same classes.

Lightning is published twice, as `pytorch_lightning` with `lightning_fabric` and as `lightning` with both inside it. A
module made with the classes of one is none of the other's, and their Trainers refuse each other's. Whichever of the two
is there first, or is installed, is the one that is imported; the other's names lead to its modules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cached_property
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

ROOT = "lightning"
TWINS = (("pytorch_lightning", "lightning.pytorch"), ("lightning_fabric", "lightning.fabric"))
"""Names of the same package, as it is published alone and within `lightning`."""
_OF_ROOT = ("Callback", "Fabric", "LightningDataModule", "LightningModule", "Trainer", "seed_everything")


def install() -> None:
    """Let both names lead to the same modules from now on; where both were imported already, they stay two."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # First: the path finder would find the other package's own files, and make a second set of classes.
        sys.meta_path.insert(0, _Finder())


def canonical(path: str) -> str:
    """The dotted path as `pytorch_lightning` has it."""
    for alone, within in TWINS:
        if _is_within(path, within):
            return alone + path.removeprefix(within)
    root, _, name = path.rpartition(".")
    return f"{TWINS[0][0]}.{name}" if root == ROOT and name in _OF_ROOT else path


def of_the_other(kind: type) -> str | None:
    """The Lightning that a class comes from, where that is not the one that shoal trains with."""
    for base in kind.__mro__:
        package = base.__module__.split(".")[0]
        if package in (ROOT, TWINS[0][0]) and package != _trained_with():
            return package
    return None


def _trained_with() -> str:
    return import_module("pytorch_lightning").__name__.split(".")[0]


def _is_within(path: str, package: str) -> bool:
    return path == package or path.startswith(f"{package}.")


class _Finder(MetaPathFinder):
    """Finds the modules of the Lightning that is not the one in use, which are those of the other."""

    def find_spec(self, name: str, path: Iterable[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        del target
        if name == ROOT and path is None:
            return self._root()
        for pair in TWINS:
            for one, other in zip(pair, reversed(pair), strict=True):
                if _is_within(name, one):
                    # None: the usual finders find what is at home under this name.
                    is_home = self._homes[pair.index(one)]
                    return None if is_home else _alias(name, other + name.removeprefix(one))
        return None

    def _root(self) -> ModuleSpec | None:
        """What `import lightning` finds where there is none: a module with what the published one has at its top."""
        found = PathFinder.find_spec(ROOT)
        # A folder of that name in the working directory, with runs in it perhaps, would do for Python as a package.
        is_package = found is not None and found.origin is not None
        return None if is_package else ModuleSpec(ROOT, _Root(), is_package=True)

    @cached_property
    def _homes(self) -> tuple[bool, bool]:
        """Whether `pytorch_lightning` is in use, and `lightning`: decided when the first of their modules is asked for.

        Both are where both had been imported.
        """
        alone, within = (name in sys.modules for name in TWINS[0])
        if not (alone or within):
            alone = PathFinder.find_spec(TWINS[0][0]) is not None
            within = not alone
        return alone, within


def _alias(name: str, of: str) -> ModuleSpec | None:
    """What has the import system give the module `of` under another name; None where there is no such module."""
    if find_spec(of) is None:
        return None
    return ModuleSpec(name, _Alias(of))


class _Alias(Loader):
    """Gives a module that has a name of its own, and leaves it as it is."""

    def __init__(self, of: str) -> None:
        self.of = of

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        module = import_module(self.of)
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # By now the import system has put the alias's into the module, which is to stay as it is.
        module.__spec__ = self.own_spec


class _Root(Loader):
    """Makes the module `lightning`, which looks things up when they are asked for."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        del spec
        return None

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(__path__=[], __all__=list(_OF_ROOT), __getattr__=_of_root)


def _of_root(name: str) -> Any:
    if f"{ROOT}.{name}" in [within for _, within in TWINS]:
        return import_module(f"{ROOT}.{name}")
    home = "lightning_fabric" if name == "Fabric" else "pytorch_lightning"
    if name in (*_OF_ROOT, "__version__"):
        return getattr(import_module(home), name)
    raise AttributeError(f"module {ROOT!r} has no attribute {name!r}")
