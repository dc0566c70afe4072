"""What the nodes of a traced graph stand for: shapes, strides and types, kept as tensors without memory."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node


def describe(node: Node, result: Any = None) -> None:
    """Keep a result's shape, strides and type: those of the one given, or of the one the trace has left."""
    found = node.meta.get("val") if result is None else result
    if isinstance(found, Tensor):
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


def _strides(found: Tensor) -> tuple[int, ...]:
    return tuple(stride for stride, size in zip(found.stride(), found.shape, strict=True) if size > 1)
