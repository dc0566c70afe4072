"""How a batch is put together: of tensors, of objects that hold tensors, and of values that have none.

A stack maps over the tensors, and takes the rest where all of its runs have the same. Such batches are drawn one by one
from their loader: what one holds may depend on its samples, and each is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.dismantled import Dismantled, dismantled, value_of
from shoal.step.plain_values import PlainValue, is_plain
from shoal.step.unlooked import Unlooked


def formed(batch: Any) -> Any:
    """The batch with nodes for what a pytree would take for leaves: values, and objects as their tensors."""
    return batch if _is_tuple(batch) else pytree.tree_map_with_path(_part, batch, is_leaf=is_plain)


def as_given(batch: Any) -> Any:
    """The batch as the data loader gave it."""
    return pytree.tree_map(_given, batch, is_leaf=_is_node)


def is_of_tensors(batch: Any) -> bool:
    """Whether there is no more to a formed batch than tensors."""
    nodes = batch if _is_tuple(batch) else pytree.tree_leaves(batch, is_leaf=_is_node)
    return all(isinstance(node, Tensor) for node in nodes)


def values_of(batch: Any) -> list[PlainValue]:
    """The plain values of a formed batch."""
    return [value for _, values in _values(batch) for value in values]


def without(batch: Any, places: Collection[int]) -> Any:
    """A formed batch without its values at these places: a step that looks at one of them ends there."""
    if not places:
        return batch
    names = [name for name, values in _values(batch) for _ in values]
    number = count()

    def hidden(value: Any) -> Any:
        place = next(number)
        return Unlooked(names[place], type(value)) if place in places else value

    return pytree.tree_map(lambda node: _with_values(node, hidden), batch, is_leaf=_is_node)


def _is_tuple(batch: Any) -> bool:
    """Whether it is a tuple or a list of tensors, as most batches are: nothing has to be looked for there."""
    return type(batch) in (tuple, list) and all(type(each) is Tensor for each in batch)


def _is_node(node: Any) -> bool:
    return isinstance(node, PlainValue | Dismantled)


def _part(path: Any, leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf
    return value_of(leaf, _called(path)) or dismantled(leaf)


def _given(node: Any) -> Any:
    if isinstance(node, PlainValue):
        return node.given()
    return node.whole() if isinstance(node, Dismantled) else node


def _values(batch: Any) -> Iterator[tuple[str, tuple[PlainValue, ...]]]:
    """The values of each node, and what the node is called."""
    for path, node in pytree.tree_flatten_with_path(batch, is_leaf=_is_node)[0]:
        if isinstance(node, PlainValue):
            yield _called(path), (node,)
        elif isinstance(node, Dismantled):
            yield f"a value in {_called(path)}", node.values


def _called(path: Any) -> str:
    return f"batch{pytree.keystr(path)}"


def _with_values(node: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(node, PlainValue):
        return PlainValue(change(node.value))
    return node.with_values(change) if isinstance(node, Dismantled) else node
