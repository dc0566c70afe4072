"""Which pointwise operations of a graph are computed in one loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch.fx import Graph, Node

from shoal.step.compiled.operations import expression

SMALL = 1 << 14
"""Elements below which a single operation is left as it is."""


@dataclass(frozen=True)
class KernelGroup:
    """Operations over one shape, in their order. They can stand where the last of them stands."""

    nodes: tuple[Node, ...]

    @property
    def shape(self) -> torch.Size:
        """What they loop over."""
        return _shape(self.nodes[-1])

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Nodes outside whose values are read."""
        read = (source for node in self.nodes for source in node.all_input_nodes)
        return tuple(dict.fromkeys(source for source in read if source not in self.nodes))

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Nodes whose values are read outside."""
        return tuple(node for node in self.nodes if any(user not in self.nodes for user in node.users))

    @property
    def pays(self) -> bool:
        """Whether one loop saves something: several operations, or a large one."""
        return len(self.nodes) > 1 or prod(self.shape) >= SMALL


def groups(graph: Graph) -> list[KernelGroup]:
    """The groups, as large as they get."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    group: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        # Without names: asked is only whether there is an expression.
        if expression(node, {}) is None:
            continue
        group[node] = [node]
        for source in node.all_input_nodes:
            theirs = group.get(source)
            if theirs is None or theirs is group[node] or _shape(source) != _shape(node):
                continue
            together = sorted({*theirs, *group[node]}, key=place.__getitem__)
            if _done_by(place[node], _users(together), place):
                group |= dict.fromkeys(together, together)
    # All nodes of a group have one and the same list, so that the list itself tells groups apart.
    return [KernelGroup(tuple(nodes)) for nodes in {id(nodes): nodes for nodes in group.values()}.values()]


def _users(nodes: list[Node]) -> Iterable[Node]:
    return (user for node in nodes for user in node.users if user not in nodes)


def _done_by(last: int, users: Iterable[Node], place: dict[Node, int]) -> bool:
    """Whether nobody outside reads a value before the last of the operations."""
    return all(place[user] > last for user in users)


def _shape(node: Node) -> torch.Size:
    shape: torch.Size = node.meta["val"].shape
    return shape
