"""Sums and means of dimensions that lie side by side, in the order in which torch adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor
from torch.fx import Node

from shoal.step.compiled import pieces

aten = torch.ops.aten

_BYTES = (32, 64, 16)
"""Of a vector of torch's: which it is depends on how torch was built, and on the processor."""


def found(node: Node, values: Mapping[Node, Tensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The function for one run of such a node, and its numbers: for each length that torch's vectors may have."""
    if node.target not in (aten.sum.dim_IntList, aten.mean.dim) or node.kwargs.get("dtype") is not None:
        return
    [source] = node.all_input_nodes
    value, dims = values[source], node.args[1]
    if value.dtype not in pieces.SUFFIXES or not value[0].is_contiguous() or not isinstance(dims, list | tuple):
        return
    summed = sorted(int(str(dim)) % value.dim() for dim in dims)
    if not summed or summed[0] == 0 or summed != list(range(summed[0], summed[-1] + 1)):
        return
    outer, rows, inner = value.shape[1 : summed[0]], [value.shape[dim] for dim in summed], value.shape[summed[-1] + 1 :]
    divisor = prod(rows) if node.target is aten.mean.dim else 1
    sizes = prod(outer), prod(rows), prod(inner), prod(rows) * prod(inner)
    for length in _BYTES:
        yield pieces.name("sum", value.dtype), (*sizes, length // value.element_size(), divisor)
