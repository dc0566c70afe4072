"""Softmax of the last dimension, its logarithm and their gradients, by the vector library that torch takes for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor
from torch.fx import Node

from shoal.step.compiled import pieces

aten = torch.ops.aten

_FUNCTIONS = {
    aten._softmax.default: "softmax",
    aten._log_softmax.default: "log_softmax",
    aten._softmax_backward_data.default: "softmax_backward",
    aten._log_softmax_backward_data.default: "log_softmax_backward",
}
_LANES = {"AVX512": 16, "AVX2": 8}
"""Numbers in a vector, by what torch says of the processor."""
_WIDEST = 512
"""Of rows that are computed here: of longer ones torch takes little more time."""


def found(node: Node, values: Mapping[Node, Tensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The function for one run of such a node, and its numbers."""
    lanes = _LANES.get(torch.backends.cpu.get_cpu_capability())
    if node.target not in _FUNCTIONS or lanes is None or not _last_dimension(node, values):
        return
    addresses = [pieces.in_library(f"Sleef_{name}f{lanes}_u10") for name in ("exp", "log")]
    operands = [*node.all_input_nodes, node]
    one_by_one = all(values[each].dtype == torch.float32 and values[each][0].is_contiguous() for each in operands)
    *outer, width = values[node].shape[1:]
    if one_by_one and None not in addresses and 0 < width <= _WIDEST:
        yield f"{_FUNCTIONS[node.target]}_{lanes}", (prod(outer), width, *filter(None, addresses))


def _last_dimension(node: Node, values: Mapping[Node, Tensor]) -> bool:
    """Whether it is that of rows of each run's, and nothing but float32 is asked for."""
    given = len(node.all_input_nodes)
    dim, asked = node.args[given : given + 2]
    n = values[node].dim()
    # Of the gradient of a result by itself there is one input, and no function here.
    expected = 1 if node.target in (aten._softmax.default, aten._log_softmax.default) else 2
    return given == expected and n > 1 and int(str(dim)) % n == n - 1 and asked in (False, torch.float32)
