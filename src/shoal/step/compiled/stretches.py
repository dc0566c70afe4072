"""Stretches of a graph: units that are computed without anything of torch's between them.

Every node has a stage. What torch computes is of the latest stage that it reads; a unit that reads such a value is of
the next one. So all units of a stage can be computed together, and then what torch computes of that stage.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import Graph, Node

from shoal.step.compiled.places import owner, stays_in_its_run
from shoal.step.compiled.units import Unit, Values
from shoal.step.graph import writes


def stretches(graph: Graph, units: Sequence[Unit], values: Values) -> list[list[Unit]]:
    """The units by stages; the graph's nodes are put in that order."""
    stages = _stages(graph, units, values)
    computed = {node for unit in units for node in unit.group.nodes}
    ours = {node for node in stages if owner(node, values) in computed}
    _sort(graph, [node for node in graph.nodes if node in stages], stages, ours)
    order = {node: number for number, node in enumerate(graph.nodes)}
    found: dict[int, list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: order[unit.group.nodes[-1]]):
        found.setdefault(stages[unit.group.nodes[0]], []).append(unit)
    return list(found.values())


def _stages(graph: Graph, units: Sequence[Unit], values: Values) -> dict[Node, int]:
    """The stage of every node but the graph's inputs, what is written and what is returned."""
    of = {node: unit for unit in units for node in unit.group.nodes}
    stages: dict[Node, int] = {}

    def after(node: Node, unit: Unit) -> int:
        """The first stage in which a unit can read a node."""
        whole = owner(node, values)
        stage = stages.get(whole, 0)
        own = whole in of and stays_in_its_run(unit.operand(node, values), values[whole])
        return stage if own else stage + 1

    for node in graph.nodes:
        unit = of.get(node)
        if unit is not None:
            # Where the last of its operations stands all that a unit reads is known.
            if node is unit.group.nodes[-1]:
                stage = max((after(each, unit) for each in unit.group.inputs), default=1)
                stages |= dict.fromkeys(unit.group.nodes, stage)
        elif node.op in ("call_function", "get_attr") and not writes(node):
            stages[node] = max((stages.get(each, 0) for each in node.all_input_nodes), default=0)
    return stages


def _sort(graph: Graph, nodes: Sequence[Node], stages: dict[Node, int], ours: set[Node]) -> None:
    """Put nodes in the order of their stages, what units compute and views of it in front."""
    first = next(node for node in graph.nodes if node in stages)
    place = first.prev
    for node in sorted(nodes, key=lambda node: (stages[node], node not in ours)):
        place.append(node)
        place = node
