"""Batched products of small matrices, where functions of shoal's own have the library's bits.

The library's kernels are made for large matrices: of 128 by 32 by 32 they reach a third of what some processors can do.
A product of more rows than one stands in only if it takes no more time than the library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.fx import Node

from shoal.engines.step.compiled import pieces
from shoal.instructions import portable

_WIDEST = 16
"""Numbers of the widest vector, to which rows are filled up."""


def found(node: Node, values: Mapping[Node, Tensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The functions for one run of such a node that may have the library's bits, and their numbers."""
    if node.target is not torch.ops.aten.bmm.default or portable():
        return
    # The square of a matrix has one operand, and no function here.
    if len(node.all_input_nodes) < 2:
        return
    left, right = (values[source] for source in node.all_input_nodes)
    if left.dtype not in pieces.SUFFIXES or not values[node].is_contiguous():
        return
    numbers = (*left.shape[1:], right.shape[2], *left.stride()[1:], *right.stride()[1:])
    rows, inner, width = numbers[:3]
    if rows == 1 and right.stride(2) == 1:
        yield pieces.name("row", left.dtype), numbers
    elif rows == 1 and left.stride(2) == right.stride(1) == 1:
        yield pieces.name("row_by_columns", left.dtype), numbers
    # What is packed lies on the stack of the thread, in an array of fixed size.
    if inner * -(-width // _WIDEST) * _WIDEST <= pieces.LARGEST:
        yield pieces.name("product", left.dtype), numbers
