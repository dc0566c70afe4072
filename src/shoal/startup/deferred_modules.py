"""The modules that wait, and what their importers are told meanwhile."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib import import_module
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
            "torch._functorch.eager_transforms",
            "lightning_fabric.wrappers",
            "pytorch_lightning.utilities.compile",
        }
    )

    def early(self) -> Mapping[str, Any]:
        self.undisturbed: list[_Undisturbed] = []
        autograd = SimpleNamespace(_disable=nullcontext)
        return {
            "graph_break": _nothing,
            "disable": self.disable,
            "OptimizedModule": _class_like(self, "OptimizedModule"),
            "compiled_autograd": autograd,
        }

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


class _Sympy(Deferral):
    """Torch asks whether the arguments of an operation are symbols, which none is before there are some."""

    name = "sympy"
    askers = frozenset({"torch._prims_common"})

    def early(self) -> Mapping[str, Any]:
        return {"Basic": _class_like(self, "Basic")}

    def settle(self) -> None:
        """Nothing is left behind: the early answer asks the real class."""


class _Schemas(Deferral):
    """Schemas of operators as torch's own build reads them, which a tensor of a class of somebody's needs at a call."""

    name = "torchgen.model"
    askers = frozenset({"torch.utils._python_dispatch"})

    def early(self) -> Mapping[str, Any]:
        return {}

    def settle(self) -> None:
        """Nothing is left behind: nobody was answered."""


class _Shapes(Deferral):
    """Torch asks about sizes in words that symbols have an answer to as well; of plain numbers they say what is."""

    name = "torch.fx.experimental.symbolic_shapes"
    askers = frozenset(
        {
            "torch",
            "torch._decomp.decompositions",
            "torch._meta_registrations",
            "torch._prims",
            "torch._prims_common",
            "torch._refs",
            "torch._refs.nn.functional",
        }
    )

    def early(self) -> Mapping[str, Any]:
        flags = {name: functools.partial(self._of_flags, name, all) for name in self._conditions}
        return flags | {
            "sym_and": functools.partial(self._of_flags, "sym_and", all),
            "sym_or": functools.partial(self._of_flags, "sym_or", any),
            "sym_eq": self._equal,
            "is_nested_int": functools.partial(self._of_size, "is_nested_int", lambda size: False),
            "has_guarding_hint": functools.partial(self._of_size, "has_guarding_hint", lambda size: True),
            "guarding_hint_or_throw": functools.partial(self._of_size, "guarding_hint_or_throw", lambda size: size),
        }

    _conditions = ("expect_true", "guard_or_false", "guard_or_true", "guard_size_oblivious", "statically_known_true")

    def _of_flags(self, name: str, plainly: Callable[[Any], bool], *given: Any) -> Any:
        plain = given and all(type(each) is bool for each in given)
        return plainly(given) if plain else self.real(name)(*given)

    def _equal(self, one: Any, other: Any) -> Any:
        plain = all(type(size) is int for each in (one, other) for size in (each if _is_row(each) else [each]))
        if plain and _is_row(one) == _is_row(other):
            return list(one) == list(other) if _is_row(one) else one == other
        return self.real("sym_eq")(one, other)

    def _of_size(self, name: str, plainly: Callable[[int], int], size: Any) -> Any:
        return plainly(size) if type(size) is int else self.real(name)(size)

    def settle(self) -> None:
        """Nothing is left behind: the early functions hand every call on that is about symbols."""


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


class _Export(Deferral):
    """Whole graphs of models, for other programs: torch names the package as it is imported, and asks nothing of it.

    It registers classes of its own with torch as it comes, which code of others may count on.
    """

    name = "torch.export"
    askers = frozenset({"torch"})

    def early(self) -> Mapping[str, Any]:
        return {}

    def settle(self) -> None:
        """Nothing is left behind: nobody was answered."""


def _is_row(given: Any) -> bool:
    return isinstance(given, tuple | list)


def _nothing() -> None:
    """What `graph_break` does outside a compilation."""


def _class_like(deferral: Deferral, name: str) -> type:
    """A class to ask `isinstance` about, which has the real one's instances and none before the code has run."""

    class Likeness(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return deferral.finished and isinstance(instance, deferral.real(name))

        def __subclasscheck__(cls, subclass: type) -> bool:
            return subclass is cls or (deferral.finished and issubclass(subclass, deferral.real(name)))

        def __call__(cls, *given: Any, **named: Any) -> Any:
            return deferral.real(name)(*given, **named)

    return Likeness(name, (), {"__module__": deferral.name})


ANYWHERE = (_Dynamo, _Sympy, _Schemas, _Shapes, _Signal, _Optimize, _Plots)
UNTIL_OTHERS = (_MetaKernels, _Export)
"""In a process of shoal's own, until it imports code of others."""
