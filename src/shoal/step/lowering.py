"""A simplified graph made into what is run: memory used again, and pointwise operations blind to their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from shoal.step.blind import in_whole_vectors
from shoal.step.compiled.kernel import Kernel, result
from shoal.step.graph import dense, layout, needs_whole_vectors, same_values, value, writes

aten = torch.ops.aten

_IN_PLACE: dict[Any, tuple[Any, str | None]] = {
    aten.add.Tensor: (aten.add.out, "out"),
    aten.sub.Tensor: (aten.sub.out, "out"),
    aten.mul.Tensor: (aten.mul.out, "out"),
    aten.div.Tensor: (aten.div.out, "out"),
    aten.relu.default: (aten.relu_.default, None),
    aten.tanh.default: (aten.tanh.out, "out"),
    aten.sigmoid.default: (aten.sigmoid.out, "out"),
    aten.exp.default: (aten.exp.out, "out"),
    aten.sqrt.default: (aten.sqrt.out, "out"),
    aten.neg.default: (aten.neg.out, "out"),
    aten.threshold_backward.default: (aten.threshold_backward.grad_input, "grad_input"),
    aten.tanh_backward.default: (aten.tanh_backward.grad_input, "grad_input"),
    aten.sigmoid_backward.default: (aten.sigmoid_backward.grad_input, "grad_input"),
    aten.gelu_backward.default: (aten.gelu_backward.grad_input, "grad_input"),
    aten.silu_backward.default: (aten.silu_backward.grad_input, "grad_input"),
    aten.elu_backward.default: (aten.elu_backward.grad_input, "grad_input"),
    aten.leaky_relu_backward.default: (aten.leaky_relu_backward.grad_input, "grad_input"),
    aten.softplus_backward.default: (aten.softplus_backward.grad_input, "grad_input"),
}
"""Pointwise operations with the form that writes over one of their inputs, and the name of its output argument."""

_FRESH = {aten.bmm.default, aten.mm.default, aten.addmm.default, aten.baddbmm.default, aten.sum.dim_IntList, *_IN_PLACE}
"""Operations whose result is new memory that nothing else looks at."""


def lowered(module: GraphModule) -> GraphModule:
    """The graph as it is run. One in which more is written to memory than kernels do is left as it is."""
    graph = module.graph
    # First, since a copy that stays at the end counts as a write below.
    _write_in_place(graph)
    if not any(writes(node) for node in graph.nodes):
        _write_over_dead_inputs(graph)
        _give_whole_vectors(graph)
    graph.lint()
    module.recompile()
    return module


def _write_in_place(graph: Graph) -> None:
    """Let kernels write where their results are copied to, if nobody reads there what was before."""
    place, memory = _order(graph), _memories(graph)
    copies = [node for node in graph.nodes if node.target is aten.copy_.default]
    last_read = _last_reads(graph, memory, but=copies)
    for copy in copies:
        target, source = copy.args
        assert isinstance(target, Node)
        if not (isinstance(source, Node) and _is_kernels(source) and layout(target) == layout(source)):
            continue
        call, _ = _origin(source)
        over = {target} if target in _coverable(source) else set()
        if last_read.get(memory[target], -1) <= place[call] and _looks(call, target, memory) <= over:
            _put(source, target)
            copy.replace_all_uses_with(source)
            graph.erase_node(copy)


def _write_over_dead_inputs(graph: Graph) -> None:
    """Let pointwise operations and kernels write over an input that nobody reads afterwards."""
    place, memory = _order(graph), _memories(graph)
    last_read = _last_reads(graph, memory)
    for node in filter(_may_write, list(graph.nodes)):
        reader = _origin(node)[0] if _is_kernels(node) else node
        free = (source for source in _candidates(node, reader) if last_read[memory[source]] == place[reader])
        # Read under another view as well, the memory could be written over before it is read.
        over = next((source for source in free if _looks(reader, source, memory) == {source}), None)
        # Inputs and constants are the caller's, or read again by the next call.
        if over is None or not _is_fresh(memory[over]):
            continue
        _put(node, over) if _is_kernels(node) else _rewrite_in_place(node, over)
        # The result has moved in with `over`: its views, and when they are read last, count for that memory now.
        for other, owner in memory.items():
            if owner is node:
                memory[other] = memory[over]
        owner = memory[over]
        last_read[owner] = max(last_read[owner], last_read.pop(node, -1))


def _may_write(node: Node) -> bool:
    """Whether a node's result may go where an input lies, and goes to no other place yet."""
    if _is_kernels(node):
        return _destination(node) is None
    # What needs whole vectors computes on copies, so that there is nothing of its own to write over.
    return node.target in _IN_PLACE and not needs_whole_vectors(node)


def _is_kernels(node: Node) -> bool:
    """Whether a node is one of a kernel's results."""
    return node.target is result


def _coverable(node: Node) -> set[Node]:
    """The inputs of a kernel where one of its results may go."""
    call, number = _origin(node)
    assert isinstance(call.target, Kernel)
    return {source for place, source in enumerate(call.all_input_nodes) if call.target.may_cover(number, place)}


def _is_fresh(node: Node) -> bool:
    return node.target in _FRESH or isinstance(node.target, Kernel) or _is_kernels(node)


def _looks(reader: Node, source: Node, memory: dict[Node, Node]) -> set[Node]:
    """The inputs of the reader that lie in the memory of `source`."""
    return {other for other in reader.all_input_nodes if memory[other] is memory[source]}


def _order(graph: Graph) -> dict[Node, int]:
    return {node: number for number, node in enumerate(graph.nodes)}


def _last_reads(graph: Graph, memory: dict[Node, Node], *, but: Sequence[Node] = ()) -> dict[Node, int]:
    """Where each memory is read last, by the node that made it."""
    reads: dict[Node, int] = {}
    for number, node in enumerate(graph.nodes):
        if node not in but:
            reads |= dict.fromkeys((memory[source] for source in node.all_input_nodes), number)
    return reads


def _memories(graph: Graph) -> dict[Node, Node]:
    """The owner of the memory that each node reads and writes: the node that made it first.

    Two nodes of one owner may overlap, so that writing over one changes the other. An operation that is not known to
    make new memory may give a view of any of its inputs: they all come to one owner, which is wrong on the safe side.
    """
    memory: dict[Node, Node] = {}
    for node in graph.nodes:
        placed = _destination(node) if _is_kernels(node) else None
        sources = node.all_input_nodes if placed is None else [placed]
        if not sources or (_is_fresh(node) and placed is None):
            memory[node] = node
            continue
        owners = [memory[source] for source in sources]
        # One that is not fresh, if any: what belongs to it too is not to be written over.
        whose = next((owner for owner in owners if not _is_fresh(owner)), owners[0])
        # Whatever belonged to one of them belongs to that one from here on, earlier nodes too.
        memory = {key: whose if owner in owners else owner for key, owner in memory.items()}
        memory[node] = whose
    return memory


def _candidates(node: Node, reader: Node) -> Iterable[Node]:
    """Inputs of the same shape, strides and type as the result, used once by the reader and not yet written over."""
    tensors = [argument for argument in reader.args if isinstance(argument, Node)]
    taken: list[Node | None] = []
    if isinstance(reader.target, Kernel):
        allowed = _coverable(node)
        tensors = [argument for argument in tensors if argument in allowed]
        taken = _destinations(reader)
    for source in tensors[:1] if node.target is aten.relu.default else tensors:
        if same_values(source, node) and dense(source) and tensors.count(source) == 1 and source not in taken:
            yield source


def _give_whole_vectors(graph: Graph) -> None:
    """Make pointwise operations blind to where in the stack an element stands."""
    for node in graph.nodes:
        if needs_whole_vectors(node):
            node.args = (node.target, tuple(value(node).stride()), *node.args)
            node.target = in_whole_vectors


def _put(node: Node, over: Node) -> None:
    """Let a kernel's result go into the memory of `over`."""
    call, number = _origin(node)
    destinations = _destinations(call)
    destinations[number] = over
    call.kwargs = {"over": tuple(destinations)}


def _destination(node: Node) -> Node | None:
    """Where a kernel's result goes; None is new memory."""
    call, number = _origin(node)
    return _destinations(call)[number]


def _origin(node: Node) -> tuple[Node, int]:
    """The kernel call that a node's value comes from, and its place among the call's results."""
    call, number = node.args
    assert isinstance(call, Node)
    assert isinstance(number, int)
    return call, number


def _destinations(call: Node) -> list[Node | None]:
    """Where each of a kernel's results goes."""
    assert isinstance(call.target, Kernel)
    given: Any = call.kwargs.get("over")
    return list(given) if given else [None] * call.target.n_outputs


def _rewrite_in_place(node: Node, over: Node) -> None:
    target, output = _IN_PLACE[node.target]
    node.target = target
    if output is not None:
        node.kwargs = {**node.kwargs, output: over}
