"""Batched products of small matrices, where functions of shoal's own have the library's bits.

The library's kernels are made for large matrices: of 128 by 32 by 32 they reach a third of what some processors can do.
Of those that have its bits the fastest is taken, the library's own function among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.fx import Node

from shoal.instructions import portable
from shoal.step.compiled import pieces

_LIBRARYS = {torch.float32: "cblas_sgemm_batch", torch.float64: "cblas_dgemm_batch"}

_WIDEST = 16
"""Numbers of the widest vector, to which rows are filled up."""


def found(node: Node, values: Mapping[Node, Tensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The functions for one run of such a node that may have the library's bits, and their numbers."""
    # The square of a matrix has one operand, and no function here.
    if node.target is not torch.ops.aten.bmm.default or len(node.all_input_nodes) < 2:
        return
    left, right = (values[source] for source in node.all_input_nodes)
    if left.dtype in pieces.SUFFIXES and values[node].is_contiguous():
        if not portable():
            yield from _own(left, right)
        yield from _by_library(left, right)


def _own(left: Tensor, right: Tensor) -> Iterator[tuple[str, tuple[int, ...]]]:
    numbers = (*left.shape[1:], right.shape[2], *left.stride()[1:], *right.stride()[1:])
    rows, inner, width = numbers[:3]
    if rows == 1 and right.stride(2) == 1:
        yield pieces.name("row", left.dtype), numbers
    elif rows == 1 and left.stride(2) == right.stride(1) == 1:
        yield pieces.name("row_by_columns", left.dtype), numbers
    # What is packed lies on the stack of the thread, in an array of fixed size.
    if inner * -(-width // _WIDEST) * _WIDEST <= pieces.LARGEST:
        yield pieces.name("product", left.dtype), numbers


def _by_library(left: Tensor, right: Tensor) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The library's own function: called for one run, it does not end the stretch that a kernel computes."""
    function, lying = pieces.in_library(_LIBRARYS[left.dtype]), [_lying(each) for each in (left, right)]
    # Of other matrices torch makes copies, and the library would only print that it does not take them.
    if function is not None and None not in lying:
        sizes = left.element_size(), *left.shape[1:], right.shape[2]
        yield "multiplied_by_library", (function, *sizes, *(number for each in lying if each for number in each))


def _lying(value: Tensor) -> tuple[int, int] | None:
    """Whether matrices lie turned, and how far a row is from the next, as torch tells the library; None for others."""
    (rows, columns), (down, right) = value.shape[1:], value.stride()[1:]
    if right == 1 and down >= columns:
        return 0, down
    if down == 1 and right >= rows:
        return 1, right
    return None
