"""The modules that wait, and what their importers are told meanwhile."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from importlib import import_module
from types import FunctionType
from typing import Any

from shoal.startup.deferral import Deferral


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
        """A function that looks `call` up at each call."""

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


class _Plots(Deferral):
    """Torchmetrics annotates by types of its module for plots, which imports matplotlib and has functions that plot."""

    name = "torchmetrics.utilities.plot"
    askers = frozenset({"torchmetrics.*"})

    def early(self) -> Mapping[str, Any]:
        # The types are those that it has itself where there is no matplotlib.
        types = {"_AX_TYPE": object, "_CMAP_TYPE": object, "_PLOT_OUT_TYPE": tuple[object, object]}
        return types | {name: functools.partial(self._plot, name) for name in self._functions}

    _functions = ("plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val")

    def _plot(self, function: str, *given: Any, **named: Any) -> Any:
        return self.real(function)(*given, **named)

    def settle(self) -> None:
        """Nothing is left behind: the early functions hand every call on."""


class _MetaKernels(Deferral):
    """Kernels that torch has in Python for tensors without values, which take a quarter of its import.

    Whoever traces or compiles imports torch's decompositions; but a module of the user's own may also just make such
    tensors. So this is only for processes of shoal's own, until they import code of others (`complete_torch`).
    """

    name = "torch._meta_registrations"
    askers = frozenset({"torch"})
    wakers = frozenset({"torch._decomp", "torch._dynamo", "torch._prims", "torch._refs", "torch.utils._content_store"})

    def early(self) -> Mapping[str, Any]:
        torch = sys.modules["torch"]  # which is being imported: nothing here may import it
        opaque = import_module("torch._opaque_base").OpaqueBaseMeta
        torch._C._set_generator_metaclass(opaque)  # its code does so too: no generator can be made before
        return {}

    def settle(self) -> None:
        """Nothing is left behind: nobody was answered."""


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


ANYWHERE = (_Dynamo, _Signal, _Optimize, _Plots)
IN_OWN_PROCESS = (*ANYWHERE, _MetaKernels)
META_KERNELS = _MetaKernels.name
