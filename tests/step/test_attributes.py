"""What is noted of a module's attributes, to see what steps and hooks change of them."""

from __future__ import annotations

import networkx
import pytest
from torch import nn

from shoal.step.attributes import Attributes


@pytest.mark.parametrize("change", [False, True])
def test_a_graph_that_a_module_holds_is_another_one_only_once_it_is_changed(*, change: bool) -> None:
    module = nn.Identity()
    # Its views are made anew for who looks at them, and gone before the next is made, in the same memory.
    module.graph = networkx.DiGraph([(1, 2), (2, 3)])
    assert list(module.graph.in_edges)
    assert list(module.graph.nodes)
    attributes = Attributes(module)
    attributes.note()

    if change:
        module.graph.add_edge(3, 4)

    assert [place for place, _ in attributes.differing()] == ([("", "graph")] if change else [])
