"""What the nodes of a traced graph stand for: shapes, strides and types, kept as tensors without memory."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from shoal.step.blind import depends_on_place, fills_vectors, in_whole_vectors, is_elementwise


def describe(node: Node, result: Any = None) -> None:
    """Note a result's shape, strides and type at its node; they come from the given tensor or from the trace."""
    found = node.meta.get("val") if result is None else result
    if isinstance(found, Tensor):
        # Without memory: kept with the graph as they are, all values of a step would stay as long as it does.
        node.meta["val"] = torch.empty_strided(found.shape, found.stride(), dtype=found.dtype, device="meta")


def value(node: Node) -> Tensor:
    """The tensor without memory that stands for a node's result."""
    found = node.meta["val"]
    assert isinstance(found, Tensor)
    return found


def is_tensor(node: Node) -> bool:
    """Whether a node is a tensor, and not a part of an operation's several results, which may share memory."""
    return isinstance(node.meta.get("val"), Tensor) and node.target is not operator.getitem


def layout(node: Node) -> tuple[Any, ...]:
    """Type, shape, and the strides of the dimensions that are longer than one; those of the others mean nothing."""
    found = value(node)
    return found.dtype, found.shape, _strides(found)


def same_values(source: Node, node: Node) -> bool:
    """Whether `source` could stand for `node` in shape, strides and type."""
    return is_tensor(source) and is_tensor(node) and layout(source) == layout(node)


def dense(node: Node) -> bool:
    """Whether no two of its elements are in one place."""
    found = value(node)
    return found.numel() == 0 or 0 not in _strides(found)


def writes(node: Node) -> bool:
    """Whether an operation changes one of its arguments."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def needs_whole_vectors(node: Node) -> bool:
    """Whether an operation's last bits would depend on where in the stack an element stands."""
    if node.op != "call_function" or not depends_on_place(node.target) or not is_tensor(node):
        return False
    values = tuple(value(arg) if isinstance(arg, Node) and is_tensor(arg) else arg for arg in node.args)
    return is_elementwise(value(node), values) and not fills_vectors(value(node), values)


def evaluated(node: Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An operation of torch's on tensors, blind to where in the stack an element stands."""
    assert callable(node.target)
    if needs_whole_vectors(node):
        return in_whole_vectors(node.target, value(node).stride(), *args, **kwargs)
    return node.target(*args, **kwargs)


def _strides(found: Tensor) -> tuple[int, ...]:
    return tuple(stride for stride, size in zip(found.stride(), found.shape, strict=True) if size > 1)
