"""What batches hold beside tensors: names, flags and numbers, which a stack takes where all its batches hold the same.

Such batches are drawn one by one from their loader: what one holds may depend on its samples, and each is looked at.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

_PLAIN = (bool, int, float, str, bytes, type(None))


class PlainValue:
    """A value as a part of how a batch is put together: two batches that differ in one are of two forms."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlainValue) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def with_plain_values(batch: Any) -> Any:
    """The batch, its plain values as nodes, of which a pytree has no leaves."""
    return pytree.tree_map(lambda leaf: PlainValue(leaf) if isinstance(leaf, _PLAIN) else leaf, batch)


def as_given(batch: Any) -> Any:
    """The batch as the data loader gave it, with its plain values."""
    return pytree.tree_map(
        lambda leaf: leaf.value if isinstance(leaf, PlainValue) else leaf,
        batch,
        is_leaf=lambda node: isinstance(node, PlainValue),
    )


def holds_plain_values(batch: Any) -> bool:
    """Whether there is more to it than tensors."""
    nodes = pytree.tree_leaves(batch, is_leaf=lambda node: isinstance(node, PlainValue))
    return not all(isinstance(node, Tensor) for node in nodes)


pytree.register_pytree_node(PlainValue, lambda value: ([], value), lambda _, value: value)
