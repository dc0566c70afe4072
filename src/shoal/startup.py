"""A cheaper start: modules that are imported at every start, though next to nothing of them is used, run later.

Torch's optimizers and Lightning import `torch._dynamo`, the compiler, at a cost of 0.7 s: for two functions that do
nothing in eager mode and a class to ask `isinstance` about. Torchmetrics imports `scipy.signal` and `scipy.optimize`,
where scipy is installed, at a cost of another 0.6 s: for one attribute and one function.

After `defer` those importers, each named below, get those few things at once. The module's own code has not
run then, as if nobody had imported it. Whatever else is asked of it, and whoever else imports it, runs its code first,
in the same module object; nothing that was handed out before then behaves differently from the real thing.
The environment variable SHOAL_EAGER_IMPORTS=1 turns all of this off.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any, ClassVar

SWITCH = "SHOAL_EAGER_IMPORTS"
_IMPORT_SYSTEM = ("importlib._bootstrap", "importlib._bootstrap_external", __name__)
_KNOWN_FROM_THE_START = frozenset(
    {"__name__", "__loader__", "__package__", "__path__", "__file__", "__cached__", "__class__"}
)


@contextmanager
def cheap_imports() -> Iterator[None]:
    """Import torch and Lightning within this: deferring what can be, and without looking for garbage meanwhile."""
    if _chosen_against():
        yield
        return
    defer()
    with uncollected():
        yield


def defer() -> None:
    """From now on defer what can be, whoever imports torch and Lightning, and wherever."""
    if not _chosen_against() and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage within this, where next to everything that is made stays."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            _count_as_old()
            gc.enable()


def keep_what_is_imported() -> None:
    """Spare the garbage collector all that is alive now, which saves 0.4 s when the process ends.

    Only for a process of shoal's own: in somebody else's, garbage of theirs would stay too.
    """
    if not _chosen_against():
        gc.freeze()


def _count_as_old() -> None:
    """Put all that is alive among the objects that are seldom looked through, which saves 0.1 s of looking now."""
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


def _chosen_against() -> bool:
    return os.environ.get(SWITCH, "0") not in ("", "0")


class Deferral(ABC):
    """One module whose code waits, and what its known importers are told meanwhile."""

    name: ClassVar[str]
    askers: ClassVar[frozenset[str]]
    """The modules that may import this one, and have `answers`, without its code being run."""

    def __init__(self, spec: ModuleSpec, loader: Loader) -> None:
        self.spec = spec
        self.loader = loader
        self.module = _Deferred(self.name)
        self.answers = self.early()
        self.lock = threading.RLock()
        self.started = False
        self.finished = False

    @abstractmethod
    def early(self) -> Mapping[str, Any]:
        """The attributes that `askers` can have before the code has run."""

    @abstractmethod
    def settle(self) -> None:
        """Put right, once the code has run, what the early answers left behind."""

    def real(self, attribute: str) -> Any:
        """An attribute of the module after its code has run."""
        self.run()
        return getattr(self.module, attribute)

    def run(self) -> None:
        """Run the module's code, once; a thread that comes meanwhile waits for it."""
        with self.lock:
            if self.started:
                return
            self.started = True
            self.spec.loader = self.loader
            self.module.__loader__ = self.loader
            try:
                self.loader.exec_module(self.module)
                self.settle()
            except BaseException:
                self.started = False  # whoever asks next gets the error too, as after an import that failed
                raise
            self.finished = True
            self.module.__class__ = ModuleType  # type: ignore[assignment]


class _Dynamo(Deferral):
    """The compiler: `graph_break` and `disable` concern code that is being compiled, and none is before it has run."""

    name = "torch._dynamo"
    askers = frozenset(
        {
            "torch._compile",
            "torch.compiler",
            "torch.optim.optimizer",
            "lightning_fabric.wrappers",
            "pytorch_lightning.utilities.compile",
        }
    )

    def early(self) -> Mapping[str, Any]:
        self.undisturbed: list[_Undisturbed] = []
        return {"graph_break": _nothing, "disable": self.disable, "OptimizedModule": _class_like(self)}

    def disable(self, fn: Any = None, recursive: bool = True, **how: Any) -> Any:
        """The function as it is now, and as `torch._dynamo.disable` makes it once there is a compiler to keep away."""
        if not isinstance(fn, FunctionType):
            return self.real("disable")(fn, recursive, **how)
        self.undisturbed.append(_Undisturbed(fn, recursive, how))
        return self.undisturbed[-1].function()

    def settle(self) -> None:
        for undisturbed in self.undisturbed:
            undisturbed.settle(self.real("disable"))


class _Undisturbed:
    """A function that somebody asked to have left alone by the compiler before there was one."""

    def __init__(self, fn: FunctionType, recursive: bool, how: Mapping[str, Any]) -> None:
        self.call: Any = fn
        self.recursive = recursive
        self.how = how

    def function(self) -> Any:
        """A function that calls what `call` then is."""

        @functools.wraps(self.call)
        def undisturbed(*given: Any, **named: Any) -> Any:
            return self.call(*given, **named)

        return undisturbed

    def settle(self, disable: Any) -> None:
        """From now on go through the compiler's own wrapper."""
        self.call = disable(self.call, self.recursive, **self.how)


class _Signal(Deferral):
    """Torchmetrics makes sure that `scipy.signal` has a `hamming`, and wants no more of it."""

    name = "scipy.signal"
    askers = frozenset({"torchmetrics", "torchmetrics.audio", "torchmetrics.functional.audio"})

    def early(self) -> Mapping[str, Any]:
        return {"hamming": lambda *given, **named: self.real("hamming")(*given, **named)}

    def settle(self) -> None:
        if not hasattr(self.module, "hamming"):
            vars(self.module)["hamming"] = self.real("windows").hamming


class _Optimize(Deferral):
    """Torchmetrics takes one function of `scipy.optimize`, for one audio metric."""

    name = "scipy.optimize"
    askers = frozenset({"torchmetrics.functional.audio.pit"})

    def early(self) -> Mapping[str, Any]:
        return {"linear_sum_assignment": lambda *given, **named: self.real("linear_sum_assignment")(*given, **named)}

    def settle(self) -> None:
        """Nothing is left behind: the early answer hands every call on."""


_KINDS: Mapping[str, type[Deferral]] = {kind.name: kind for kind in (_Dynamo, _Signal, _Optimize)}
_deferrals: dict[str, Deferral] = {}


def _nothing() -> None:
    """What `graph_break` does outside a compilation."""


def _class_like(deferral: Deferral) -> type:
    """A class to ask `isinstance` about, which has the real one's instances and none before the code has run."""

    class Likeness(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return deferral.finished and isinstance(instance, deferral.real("OptimizedModule"))

        def __subclasscheck__(cls, subclass: type) -> bool:
            return subclass is cls or (deferral.finished and issubclass(subclass, deferral.real("OptimizedModule")))

        def __call__(cls, *given: Any, **named: Any) -> Any:
            return deferral.real("OptimizedModule")(*given, **named)

    return Likeness("OptimizedModule", (), {"__module__": "torch._dynamo.eval_frame"})


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
        if not deferral.started and _asker() in deferral.askers:
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

    `import torch._dynamo.config` asks for the submodule before anything has run its package. `_Finder` runs the package
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


class _Finder(MetaPathFinder):
    """Finds the modules to defer, and before a submodule of one of them runs the code of the package."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        kind = _KINDS.get(fullname)
        if kind is not None and fullname not in _deferrals and _asker() in kind.askers:
            return self._deferred(kind, PathFinder.find_spec(fullname, path, target))
        package = _deferrals.get(fullname.rpartition(".")[0])
        if package is None or target is not None:  # a target: somebody reloads a module
            return None
        package.run()
        module = sys.modules.get(fullname)
        return None if module is None else _AlreadyThere(module).spec

    @staticmethod
    def _deferred(kind: type[Deferral], spec: ModuleSpec | None) -> ModuleSpec | None:
        if spec is None or spec.loader is None:
            return None
        deferral = _deferrals[kind.name] = kind(spec, spec.loader)
        spec.loader = _Wait(deferral)
        return spec
