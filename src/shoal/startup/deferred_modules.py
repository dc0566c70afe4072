"""The modules that wait, and what their importers are told meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ContextDecorator
from types import FunctionType, SimpleNamespace
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


class _Pyplot(Deferral):
    """Torchmetrics takes a class and a decorator of `matplotlib.pyplot`, which reads all style files of matplotlib."""

    name = "matplotlib.pyplot"
    askers = frozenset({"torchmetrics.utilities.plot"})

    def early(self) -> Mapping[str, Any]:
        from matplotlib.figure import Figure

        return {"Figure": Figure, "style": SimpleNamespace(context=functools.partial(_Styled, self))}

    def settle(self) -> None:
        """Nothing is left behind: the class is the real one, the decorator asks for the real one when it is used."""


class _Styled(ContextDecorator):
    """`matplotlib.style.context`, which is looked up when it is entered."""

    def __init__(self, deferral: Deferral, *given: Any, **named: Any) -> None:
        self.made = deferral, given, named
        self.context: Any = None

    def _recreate_cm(self) -> _Styled:
        deferral, given, named = self.made
        return _Styled(deferral, *given, **named)

    def __enter__(self) -> Any:
        deferral, given, named = self.made
        self.context = deferral.real("style").context(*given, **named)
        return self.context.__enter__()

    def __exit__(self, *raised: Any) -> Any:
        return self.context.__exit__(*raised)


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


KINDS = (_Dynamo, _Signal, _Optimize, _Pyplot)
