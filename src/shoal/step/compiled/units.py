"""What one function in C computes of a graph for one run: a loop over pointwise operations, a product, a sum, softmax.

Every unit treats the first dimension of its values as the runs: what a row of its results is depends on that row of its
inputs alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.fx import Graph, Node

from shoal.step.compiled import product, softmax, sums, vector_library
from shoal.step.compiled.kernel_groups import KernelGroup, groups
from shoal.step.compiled.source import loop

Values = Mapping[Node, Tensor]


@dataclass(frozen=True)
class Unit:
    """Some operations, and the function that computes them."""

    group: KernelGroup
    function: str
    """The name of a piece, or the text of a loop behind its name."""
    numbers: tuple[int, ...]
    pointwise: bool = False
    """Whether all that an element needs is read before any of it is written."""

    @property
    def operands(self) -> tuple[Node, ...]:
        """What the function is given, inputs first."""
        return (*self.group.inputs, *self.group.outputs)

    def operand(self, node: Node, values: Values) -> Tensor:
        """An operand's value as the function sees it, spread over what it loops over."""
        return values[node].expand(self.group.shape) if self.pointwise else values[node]


def candidates(graph: Graph, values: Values, runs: int) -> Iterator[list[Unit]]:
    """For whatever can be computed by a function in C those that may do so, the one to try first in front."""
    for group in groups(graph):
        if _of_runs(group, runs):
            yield [_loop(group, values)]
    for node in graph.nodes:
        group = KernelGroup((node,))
        if node in values and _of_runs(group, runs):
            kinds = product, sums, vector_library, softmax
            if found := [each for kind in kinds for each in kind.found(node, values)]:
                yield [Unit(group, *each) for each in found]


def _loop(group: KernelGroup, values: Values) -> Unit:
    first = {node: values[node].expand(group.shape)[:1] for node in (*group.inputs, *group.nodes)}
    made = loop(group, first)
    return Unit(group, made.text, made.numbers, pointwise=True)


def _of_runs(group: KernelGroup, runs: int) -> bool:
    """Whether its first dimension may be the runs."""
    shape = group.shape
    return len(shape) > 0 and shape[0] == runs and shape.numel() > 0
