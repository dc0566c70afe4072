"""The operations of a function of tensors, written down as a graph while they are done.

What torch's own `make_fx` gives, whose first call imports torch's compiler and SymPy, which is longer than all that a
small stack traces. Sizes are plain numbers here, so that neither has anything to say.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import base_types
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, autograd_would_have_decomposed
from torch.utils.weak import WeakTensorKeyDictionary

from shoal.step.graph import describe

aten = torch.ops.aten

_ANSWERED = {aten.size.default, aten.stride.default, aten.storage_offset.default}
"""Questions about a tensor's form, which are not taken apart."""


def traced(function: Callable[..., Any], inputs: Sequence[Tensor]) -> GraphModule:
    """The graph of what a function does with these tensors, which it is run on, and of what it writes to them.

    Writes to other tensors become results of their own.

    Raises:
        RuntimeError: where it asks for a number that depends on them.
    """
    tracing = _Tracing()
    for number, each in enumerate(inputs):
        tracing.know(each, tracing.graph.placeholder(f"arg{number}_1"))
    with _without_cache(), tracing:
        found = functionalize(lambda *given: function(*given))(*inputs)
    tracing.graph.output(pytree.tree_map(tracing.node, found))
    return GraphModule(tracing.constants, tracing.graph)


class _Known(NamedTuple):
    """What a tensor is in the graph."""

    node: Node
    value: Tensor | None
    """A single number that follows from no input."""


class _Tracing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, each operation becomes a node."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.constants: dict[str, Any] = {}
        """Tensors that were there before and are no inputs, by name."""
        # Weak, and by identity: values go when nothing needs them any longer, as without a trace.
        self._known: Any = WeakTensorKeyDictionary()

    def know(self, tensor: Tensor, node: Node, value: Tensor | None = None) -> None:
        """From now on the tensor is this node."""
        describe(node, tensor)
        self._known[tensor] = _Known(node, value)

    def node(self, given: Any) -> Any:
        """What stands in the graph for a value."""
        if not isinstance(given, Tensor):
            if given is not None and not isinstance(given, base_types):
                raise RuntimeError(f"a trace holds no {type(given).__name__}")
            return given
        if given in self._known:
            return self._known[given].node
        names = [name for name, each in self.constants.items() if each is given]
        name = names[0] if names else f"_tensor_constant{len(self.constants)}"
        if given._is_zerotensor():
            # Forward derivatives begin with zeros that have no memory, which no copy of the graph could have.
            self.constants[name] = torch.zeros_like(given, memory_format=torch.contiguous_format).clone()
            self.know(given, self.graph.get_attr(name))
            return self._known[given].node
        self.constants[name] = given
        node = self.graph.get_attr(name)
        describe(node, given)
        return node

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves, form = pytree.tree_flatten((args, kwargs))
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        # Of a class of its own, unless it is one of the inputs: that takes itself apart.
        if any(type(each) not in (Tensor, nn.Parameter) and each not in self._known for each in tensors):
            return NotImplemented
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        # In inference mode nobody has taken it apart yet.
        if func not in _ANSWERED and autograd_would_have_decomposed(func, leaves):
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        values = self._values(leaves)
        if torch.Tag.data_dependent_output in func.tags:
            if values is None:
                raise RuntimeError(f"asks for a number that depends on what is computed ({func.name()})")
            args, kwargs = pytree.tree_unflatten(values, form)
            return func(*args, **kwargs)
        # What a tensor is made of may be written to: the graph reads a copy in each call.
        func = aten.lift_fresh_copy.default if func is aten.lift_fresh.default else func
        given, named = pytree.tree_unflatten([self.node(each) for each in leaves], form)
        called = self.graph.create_node("call_function", func, given, named, name=func.overloadpacket.__name__)
        found = func(*args, **kwargs)
        self._note(called, found, self._value(func, found, tensors, values, form))
        return found

    def _values(self, leaves: Sequence[Any]) -> list[Any] | None:
        """The arguments, if all of them are known whatever the inputs are."""
        known = [self._known.get(each) if isinstance(each, Tensor) else None for each in leaves]
        if any(each is not None and each.value is None for each in known):
            return None
        return [leaf if each is None else each.value for leaf, each in zip(leaves, known, strict=True)]

    def _value(
        self, func: Any, found: Any, tensors: Sequence[Tensor], values: list[Any] | None, form: pytree.TreeSpec
    ) -> Any:
        """What an operation has given, if that is a single number which follows from no input."""
        if any(each.numel() > 1 for each in pytree.tree_leaves(found) if isinstance(each, Tensor)):
            return None
        if func is aten.lift_fresh_copy.default:
            return tensors[0].clone()
        # Not of what makes tensors: it follows from numbers alone, and nobody asks for these.
        if values is None or not any(each in self._known for each in tensors):
            return None
        if torch.Tag.nondeterministic_seeded in func.tags:
            return None
        args, kwargs = pytree.tree_unflatten(values, form)
        return func(*args, **kwargs)

    def _note(self, node: Node, found: Any, value: Any) -> None:
        if isinstance(found, Tensor):
            self.know(found, node, value)
        elif isinstance(found, list | tuple):
            for number, each in enumerate(found):
                part = self.graph.call_function(operator.getitem, (node, number))
                if isinstance(each, Tensor):
                    self.know(each, part, None if value is None else value[number])


@contextmanager
def _without_cache() -> Iterator[None]:
    """Without autocast's cache: a cast that was made before would be no node."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
