"""Functions of one number that torch leaves to a vector library: by the same library, for the numbers of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.fx import Node

from shoal.step.compiled import pieces
from shoal.step.graph import needs_whole_vectors

aten = torch.ops.aten

_NAMES = {
    aten.sqrt.default: "Sqrt",
    aten.exp.default: "Exp",
    aten.log.default: "Ln",
    aten.tanh.default: "Tanh",
    aten.sin.default: "Sin",
    aten.cos.default: "Cos",
    aten.erf.default: "Erf",
}
"""In the library, behind the letters that tell the type."""

_LETTERS = {torch.float32: "vms", torch.float64: "vmd"}

_MODE = 0x140102
"""High accuracy, numbers below the normal ones kept, errors ignored: as torch calls these functions."""


def found(node: Node, values: Mapping[Node, Tensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The function for one run of such a node, and its numbers."""
    if node.target not in _NAMES or needs_whole_vectors(node):
        return
    [source] = node.all_input_nodes
    given, made = values[source], values[node]
    if given.dtype not in _LETTERS or not (given[0].is_contiguous() and made[0].is_contiguous()):
        return
    function = pieces.in_library(_LETTERS[given.dtype] + _NAMES[node.target])
    if function is not None:
        yield "by_library", (function, made[0].numel(), _MODE)
