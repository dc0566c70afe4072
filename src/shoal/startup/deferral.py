"""Modules whose code waits until somebody asks for more of it than their known importers do."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, ClassVar

from shoal.startup.collecting import uncollected

_IMPORT_SYSTEM = ("importlib._bootstrap", "importlib._bootstrap_external", __name__)
_KNOWN_FROM_THE_START = frozenset(
    {"__name__", "__loader__", "__package__", "__path__", "__file__", "__cached__", "__class__"}
)


class Deferral(ABC):
    """One module whose code waits, and what its known importers are told meanwhile."""

    name: ClassVar[str]
    askers: ClassVar[frozenset[str]]
    """The modules that may import this one, and have `answers`, without its code being run; `a.*`: all within a."""
    wakers: ClassVar[frozenset[str]] = frozenset()
    """Modules that rely on what this one's code does elsewhere: it is run before theirs."""

    def __init__(self, spec: ModuleSpec, loader: Loader) -> None:
        self.spec = spec
        self.loader = loader
        self.module = _Deferred(self.name)
        self.answers = self.early()
        self.lock = threading.RLock()
        self.started = False
        self.finished = False

    @classmethod
    def may_ask(cls, module: str) -> bool:
        """Whether a module may import this one without its code being run."""
        return not cls.askers.isdisjoint((module, f"{module.partition('.')[0]}.*"))

    @abstractmethod
    def early(self) -> Mapping[str, Any]:
        """The attributes that `askers` can have before the code has run."""

    @abstractmethod
    def settle(self) -> None:
        """Once the module's code has run, replace what was answered for it before."""

    def real(self, attribute: str) -> Any:
        """An attribute of the module after its code has run."""
        self.run()
        return getattr(self.module, attribute)

    def run(self) -> None:
        """Run the module's code, once; a thread that comes meanwhile waits for it."""
        with self.lock:
            if self.started:
                return
            for other in [*_deferrals.values()]:
                if self.name in other.wakers:
                    other.run()
            self.started = True
            self.spec.loader = self.loader
            self.module.__loader__ = self.loader
            try:
                with uncollected():
                    self.loader.exec_module(self.module)
                self.settle()
            except BaseException:
                self.started = False  # whoever asks next gets the error too, as after an import that failed
                raise
            self.finished = True
            self.module.__class__ = ModuleType  # type: ignore[assignment]


_deferrals: dict[str, Deferral] = {}


def _asker() -> str:
    """The module that asks: the innermost one on the stack that is neither this one nor the import system."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _IMPORT_SYSTEM:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


class _Deferred(ModuleType):
    """A module whose code has not run; afterwards it is a plain module."""

    # Not __getattr__, which is asked only for what is missing: some attributes (__spec__, __doc__, __dict__) are there
    # from the beginning, and whoever reads them may go on to rely on the code having run.
    def __getattribute__(self, name: str) -> Any:
        # What the import system itself reads while it makes the module; the code must not run for that.
        if name in _KNOWN_FROM_THE_START:
            return ModuleType.__getattribute__(self, name)
        deferral = _deferrals[ModuleType.__getattribute__(self, "__name__")]
        if not deferral.started and deferral.may_ask(_asker()):
            if name in deferral.answers:
                return deferral.answers[name]
            if name == "__spec__":  # an import statement looks here whether the module is there
                return ModuleType.__getattribute__(self, name)
        deferral.run()
        # Another thread may be running the code: it holds the lock until the attribute is there.
        with deferral.lock:
            return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _KNOWN_FROM_THE_START and name != "__spec__":
            _deferrals[self.__name__].run()
        ModuleType.__setattr__(self, name, value)


class _Wait(Loader):
    """Makes the deferred module, and does not run its code."""

    def __init__(self, deferral: Deferral) -> None:
        self.deferral = deferral

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return self.deferral.module

    def exec_module(self, module: ModuleType) -> None:
        del module


class _AlreadyThere(Loader):
    """Gives a submodule that came with the code of its package, and leaves it as it is.

    `import torch._dynamo.config` asks for the submodule before anything has run its package. `Finder` runs the package
    then, which imports the submodule on its way. The import system still wants a spec to load: this one loads nothing.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.own_spec = module.__spec__
        self.spec = ModuleSpec(module.__name__, self)
        # The import system prefers the spec that a module has to the one it was given, so the module has this one until
        # it is loaded. It is put there past __setattr__, which torch._dynamo.config takes for one of its settings.
        vars(module)["__spec__"] = self.spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__spec__"] = self.own_spec


class Finder(MetaPathFinder):
    """Finds the modules to defer, and runs their code before that of a submodule, or of what relies on it."""

    def __init__(self, kinds: Iterable[type[Deferral]]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._woken = {waker: kind.name for kind in self._kinds.values() for waker in kind.wakers}

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        kind = self._kinds.get(fullname)
        if kind is not None and fullname not in _deferrals and kind.may_ask(_asker()):
            return self._deferred(kind, PathFinder.find_spec(fullname, path, target))
        first = _deferrals.get(fullname.rpartition(".")[0]) or _deferrals.get(self._woken.get(fullname, ""))
        if first is None or target is not None:  # a target: somebody reloads a module
            return None
        first.run()
        module = sys.modules.get(fullname)
        return None if module is None else _AlreadyThere(module).spec

    def defer_no_more(self, name: str) -> None:
        """Run the code of this module now if it waits, and whenever it is imported if it was not."""
        self._kinds.pop(name, None)
        if deferral := _deferrals.get(name):
            deferral.run()

    @staticmethod
    def _deferred(kind: type[Deferral], spec: ModuleSpec | None) -> ModuleSpec | None:
        if spec is None or spec.loader is None:
            return None
        deferral = _deferrals[kind.name] = kind(spec, spec.loader)
        spec.loader = _Wait(deferral)
        return spec
