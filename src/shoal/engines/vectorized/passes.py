"""Rewrites of a traced step: the same mathematics in fewer and cheaper kernels.

A trace of `vmap(grad(step))` carries views and expansions that change nothing, multiplications by one, and batched
matrix products whose inner or outer dimension is one, for which the general kernel is several times too slow. Every
rewrite treats the runs of a stack alike and apart, so a run's numbers do not depend on the stack it stands in.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from shoal.engines.vectorized.kernels import depends_on_place, fills_vectors, in_whole_vectors, is_elementwise

aten = torch.ops.aten

_RESHAPES = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.expand.default,
    aten.reshape.default,
    aten.permute.default,
}
_SAME = {aten.detach.default, aten.alias.default, aten.lift_fresh.default}
_VIEWS = {
    *_RESHAPES,
    *_SAME,
    aten.transpose.int,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.select.int,
    aten.slice.Tensor,
}
_ONES = {aten.ones_like.default, aten.ones.default, aten.new_ones.default}
_FILLED = {
    *_ONES,
    aten.zeros_like.default,
    aten.zeros.default,
    aten.new_zeros.default,
    aten.arange.default,
    aten.arange.start,
}
_MAX_FOLDED = 1 << 20
"""Elements of the largest tensor that is computed once and kept with the graph."""

_IN_PLACE: dict[Any, tuple[Any, str | None]] = {
    aten.add.Tensor: (aten.add.out, "out"),
    aten.sub.Tensor: (aten.sub.out, "out"),
    aten.mul.Tensor: (aten.mul.out, "out"),
    aten.div.Tensor: (aten.div.out, "out"),
    aten.relu.default: (aten.relu_.default, None),
    aten.tanh.default: (aten.tanh.out, "out"),
    aten.sigmoid.default: (aten.sigmoid.out, "out"),
    aten.exp.default: (aten.exp.out, "out"),
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


def optimized(module: GraphModule) -> GraphModule:
    """The traced step after all rewrites; itself, where something in it writes to memory."""
    graph = module.graph
    if any(_writes(node) for node in graph.nodes):
        return module
    for node in graph.nodes:
        _describe(node)
    _each(graph, _cheaper_product)
    while _each(graph, _without_effect):
        pass
    graph.eliminate_dead_code()
    _fold_constants(module)
    _write_over_dead_inputs(graph)
    _give_whole_vectors(graph)
    graph.lint()
    module.recompile()
    return module


def _each(graph: Graph, rewrite: Callable[[Node], Node | None]) -> bool:
    """Replace every node for which `rewrite` gives another; whether there was one."""
    changed = False
    for node in list(graph.nodes):
        other = rewrite(node) if node.op == "call_function" and node.users else None
        if other is not None:
            node.replace_all_uses_with(other)
            graph.erase_node(node)
            changed = True
    return changed


def _without_effect(node: Node) -> Node | None:
    """The input of a node that computes nothing, or None."""
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or not _is_tensor(source):
        return None
    if node.target in _SAME:
        return source
    if node.target in _RESHAPES and _layout(node) == _layout(source):
        return source
    if node.target is aten.transpose.int and source.target is aten.transpose.int and _dims(node) == _dims(source):
        return _argument(source)
    if node.target in (aten.mul.Tensor, aten.mul.Scalar):
        return _factor_beside_one(node)
    if node.target is aten.clone.default and all(user.op == "output" for user in node.users):
        return source
    return None


def _factor_beside_one(node: Node) -> Node | None:
    left, right = node.args
    for kept, one in ((left, right), (right, left)):
        if isinstance(kept, Node) and _is_one(one) and (_same_values(kept, node) or _only_broadcast(kept, node)):
            return kept
    return None


def _only_broadcast(kept: Node, node: Node) -> bool:
    """Whether `kept` can stand for `node` whatever its strides: it is only viewed, to be added to something larger."""
    if _value(kept).shape != _value(node).shape or _value(kept).dtype != _value(node).dtype:
        return False
    return all(
        view.target is aten.view.default and all(_is_larger_sum(user, view) for user in view.users)
        for view in node.users
    )


def _is_larger_sum(node: Node, term: Node) -> bool:
    return node.target is aten.add.Tensor and _value(node).numel() > _value(term).numel()


def _is_one(value: Any) -> bool:
    if not isinstance(value, Node):
        return not isinstance(value, bool) and value == 1
    if value.target in _VIEWS:
        return _is_one(value.args[0])
    return value.target in _ONES


def _cheaper_product(node: Node) -> Node | None:
    """A broadcast multiplication for an inner dimension of one; a row times a matrix for a single output column."""
    if node.target is not aten.bmm.default:
        return None
    left, right = node.args
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    rows, inner, columns = *_value(left).shape[1:], _value(right).shape[2]
    with node.graph.inserting_before(node):
        if inner == 1:
            return _call(node.graph, aten.mul.Tensor, left, right)
        if columns == 1 and rows > 1:
            turned = [_call(node.graph, aten.transpose.int, side, 1, 2) for side in (right, left)]
            product = _call(node.graph, aten.bmm.default, *turned)
            return _call(node.graph, aten.transpose.int, product, 1, 2)
    return None


def _fold_constants(module: GraphModule) -> None:
    """Compute once what depends on no input, and keep it with the graph."""
    known: dict[Node, Tensor] = {}
    for node in module.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload) or not _is_tensor(node):
            continue
        if not (_is_pure(node) and all(source in known for source in node.all_input_nodes)):
            continue
        if node.target in _FILLED or node.all_input_nodes:
            value = _evaluated(node, known)
            if value.numel() <= _MAX_FOLDED:
                known[node] = value
    for node, value in known.items():
        if any(user not in known for user in node.users):
            _keep(module, node, value.contiguous())
    module.graph.eliminate_dead_code()


def _evaluated(node: Node, known: dict[Node, Tensor]) -> Tensor:
    args = torch.fx.map_arg(node.args, lambda source: known[source])
    kwargs = torch.fx.map_arg(node.kwargs, lambda source: known[source])
    result = node.target(*args, **kwargs)  # type: ignore[operator]
    assert isinstance(result, Tensor)
    return result


def _keep(module: GraphModule, node: Node, value: Tensor) -> None:
    name = f"constant_{node.name}"
    module.register_buffer(name, value, persistent=False)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    constant.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(constant)


def _is_pure(node: Node) -> bool:
    # Batch norm updates its running statistics without its schema saying so.
    return not _writes(node) and "batch_norm" not in str(node.target)


def _writes(node: Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _write_over_dead_inputs(graph: Graph) -> None:
    """Let pointwise operations write over an input that nobody reads afterwards."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    memory = _memories(graph)
    last_read: dict[Node, int] = {}
    for node in graph.nodes:
        for source in node.all_input_nodes:
            owner = memory[source]
            last_read[owner] = max(last_read.get(owner, -1), place[node])
    for node in list(graph.nodes):
        if node.target not in _IN_PLACE or _needs_whole_vectors(node):
            continue
        over = next((source for source in _candidates(node) if last_read[memory[source]] == place[node]), None)
        if over is None or memory[over].target not in _FRESH:
            continue
        _rewrite_in_place(node, over)
        for other, owner in memory.items():
            if owner is node:
                memory[other] = memory[over]
        owner = memory[over]
        last_read[owner] = max(last_read[owner], last_read.pop(node, -1))


def _memories(graph: Graph) -> dict[Node, Node]:
    """The node that made the memory each node looks at. An operation not known is taken to look at all its inputs'."""
    memory: dict[Node, Node] = {}
    for node in graph.nodes:
        sources = node.all_input_nodes
        if node.target in _FRESH or not sources:
            memory[node] = node
            continue
        memory[node] = memory[sources[0]]
        for source in sources[1:]:
            old, new = memory[source], memory[node]
            memory = {key: new if owner is old else owner for key, owner in memory.items()}
    return memory


def _candidates(node: Node) -> Iterable[Node]:
    """Inputs of the same shape, strides and type as the result, used once by the node."""
    tensors = [argument for argument in node.args if isinstance(argument, Node)]
    for source in tensors[:1] if node.target is aten.relu.default else tensors:
        if _same_values(source, node) and _dense(source) and tensors.count(source) == 1:
            yield source


def _give_whole_vectors(graph: Graph) -> None:
    """Make pointwise operations blind to where in the stack an element stands."""
    for node in graph.nodes:
        if _needs_whole_vectors(node):
            node.args = (node.target, *node.args)
            node.target = in_whole_vectors


def _needs_whole_vectors(node: Node) -> bool:
    if node.op != "call_function" or not depends_on_place(node.target) or not _is_tensor(node):
        return False
    values = tuple(_value(arg) if isinstance(arg, Node) and _is_tensor(arg) else arg for arg in node.args)
    return is_elementwise(_value(node), values) and not fills_vectors(_value(node), values)


def _rewrite_in_place(node: Node, over: Node) -> None:
    target, output = _IN_PLACE[node.target]
    node.target = target
    if output is not None:
        node.kwargs = {**node.kwargs, output: over}


def _describe(node: Node) -> None:
    """Keep a result's shape, strides and type as a tensor without memory, so that they can be computed with."""
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        node.meta["val"] = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _call(graph: Graph, target: Any, *args: Any) -> Node:
    node = graph.call_function(target, args)
    values = [argument.meta["val"] if isinstance(argument, Node) else argument for argument in args]
    node.meta["val"] = target(*values)
    return node


def _value(node: Node) -> Tensor:
    value = node.meta["val"]
    assert isinstance(value, Tensor)
    return value


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor) and node.target is not operator.getitem


def _argument(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _dims(node: Node) -> set[int]:
    return {dim % _value(node).dim() for dim in node.args[1:3] if isinstance(dim, int)}


def _strides(value: Tensor) -> tuple[int, ...]:
    """Strides of the dimensions that are longer than one; those of the others mean nothing."""
    return tuple(stride for stride, size in zip(value.stride(), value.shape, strict=True) if size > 1)


def _layout(node: Node) -> tuple[Any, ...]:
    value = _value(node)
    return value.dtype, value.shape, _strides(value)


def _same_values(source: Node, node: Node) -> bool:
    """Whether `source` could stand for `node` in shape, strides and type."""
    return _is_tensor(source) and _is_tensor(node) and _layout(source) == _layout(node)


def _dense(node: Node) -> bool:
    value = _value(node)
    return value.numel() == 0 or 0 not in _strides(value)
