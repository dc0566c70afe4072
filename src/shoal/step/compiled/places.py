"""Where the values of one run lie while its calls are done: in tensors, or in memory that the next run uses again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.fx import Node

from shoal.step.compiled.units import Unit, Values
from shoal.step.graph import writes

ALIGNMENT = 64
"""Bytes that every value's place is a multiple of."""


def chain(node: Node, values: Values) -> list[Node]:
    """The node and the nodes that it is a view of, one after the other; the last has memory of its own."""
    found = [node]
    while (source := _viewed(found[-1], values)) is not None:
        found.append(source)
    return found


def owner(node: Node, values: Values) -> Node:
    """The node that made the memory at which a node looks."""
    return chain(node, values)[-1]


def is_view(node: Node, values: Values) -> bool:
    """Whether a node only looks at another's memory."""
    return _viewed(node, values) is not None


def _viewed(node: Node, values: Values) -> Node | None:
    source = node.args[0] if node.op == "call_function" and node.args else None
    # What is copied into a tensor counts as that tensor's value, which it is no view of.
    if not isinstance(source, Node) or source not in values or node not in values or writes(node):
        return None
    return source if _memory(values[node]) == _memory(values[source]) else None


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def stays_in_its_run(value: Tensor, whole: Tensor) -> bool:
    """Whether a row of a view looks at that row of the tensor alone which has the memory."""
    begin = (value.data_ptr() - whole.data_ptr()) // whole.element_size()
    inside = begin >= 0 and begin + _span(value) <= _span(whole)
    return value.stride(0) == whole.stride(0) and inside


def _span(value: Tensor) -> int:
    """Elements from the first one of a row to its last."""
    return sum((size - 1) * stride for size, stride in zip(value.shape[1:], value.stride()[1:], strict=True)) + 1


def in_step(unit: Unit, node: Node, values: Values) -> bool:
    """Whether a unit reads the numbers of a tensor one by one, in the order in which they lie there."""
    one, whole = values[node], values[owner(node, values)]
    as_it_lies = (one.data_ptr(), one.shape, one.stride()) == (whole.data_ptr(), whole.shape, whole.stride())
    return unit.pointwise and as_it_lies


class Scratch:
    """Places in a piece of memory for what lies between the calls of a run."""

    def __init__(self, units: Sequence[Unit], kept: Sequence[Node], values: Values) -> None:
        """`kept` are results that go into tensors."""
        self.places: dict[Node, int] = {}
        """Bytes from the beginning, by the node that a value belongs to."""
        self.size = ALIGNMENT
        self._values = values
        lasts = _last_uses(units, values)
        taken: dict[Node, range] = {}
        for number, unit in enumerate(units):
            over = self._done(unit, [node for node in taken if lasts[node] == number])
            for node in unit.group.outputs:
                if node not in kept:
                    taken[node] = self._place(node, taken, over)
                    self.places[node] = taken[node].start
                    self.size = max(self.size, taken[node].stop)
            # Only now: what a unit reads stays apart from what it writes.
            taken = {node: place for node, place in taken.items() if lasts[node] > number}

    def _done(self, unit: Unit, ended: Sequence[Node]) -> list[Node]:
        """Values that a unit may write over: it is the last that reads them, number by number."""
        read = [(owner(node, self._values), in_step(unit, node, self._values)) for node in unit.group.inputs]
        return [node for node in ended if all(steps for whole, steps in read if whole is node)]

    def _place(self, node: Node, taken: Mapping[Node, range], over: list[Node]) -> range:
        value = self._values[node]
        for other in over:
            if _lies_as(self._values[other], value):
                over.remove(other)
                return taken[other]
        return _free(list(taken.values()), -(-_span(value) * value.element_size() // ALIGNMENT) * ALIGNMENT)


def _lies_as(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)


def _last_uses(units: Sequence[Unit], values: Values) -> Mapping[Node, int]:
    return {owner(node, values): number for number, unit in enumerate(units) for node in unit.group.inputs}


def _free(taken: Sequence[range], size: int) -> range:
    """The first gap of this size."""
    begin = 0
    for place in sorted(taken, key=lambda place: place.start):
        if place.start - begin >= size:
            break
        begin = place.stop
    return range(begin, begin + size)
