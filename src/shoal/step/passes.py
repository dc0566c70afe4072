"""Rewrites of a traced step: the same mathematics in fewer and cheaper kernels.

A trace of `vmap(grad(step))` carries views and expansions that change nothing, multiplications by one, and batched
matrix products whose inner or outer dimension is one, for which the general kernel is several times too slow. Every
rewrite treats the runs of a stack alike and apart, so a run's numbers do not depend on the stack it stands in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from shoal.step.graph import describe, is_tensor, layout, same_values, value, writes

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
    aten.arange.start_step,
    aten.full.default,
    aten.full_like.default,
    aten.eye.default,
    aten.scalar_tensor.default,
}
_FORMATTED = {aten.cat.default, aten.stack.default, aten.convolution.default}
"""Operations that lay out a result of four or five dimensions as their inputs seem to be laid out."""
_MAX_FOLDED = 1 << 20
"""Elements of the largest tensor that is computed once and kept with the graph."""


def simplified(module: GraphModule) -> GraphModule:
    """The traced step after all rewrites; itself, where something in it writes to memory."""
    graph = module.graph
    _say_types(graph)
    # Rewrites take nodes for values, which a write to shared memory would change between two readers.
    if any(writes(node) for node in graph.nodes):
        return module
    for node in graph.nodes:
        describe(node)
    # Products first: the transposes that they add may undo others, and both go in the loop below.
    _each(graph, _cheaper_product)
    # Each may leave another one without effect.
    while _each(graph, _without_effect):
        pass
    graph.eliminate_dead_code()
    _fold_constants(module)
    _view_however_it_lies(graph)
    graph.lint()
    module.recompile()
    return module


def _say_types(graph: Graph) -> None:
    """Say which type a tensor has that is made of no other: left out, it is torch's default when the graph runs."""
    for node in graph.nodes:
        if node.all_input_nodes or not isinstance(node.target, torch._ops.OpOverload) or not is_tensor(node):
            continue
        if any(argument.name == "dtype" for argument in node.target._schema.arguments):
            node.update_kwarg("dtype", value(node).dtype)


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
    if not isinstance(source, Node) or not is_tensor(source):
        return None
    if node.target in _SAME:
        return source
    if node.target in _RESHAPES and layout(node) == layout(source):
        return source
    if node.target is aten.transpose.int and source.target is aten.transpose.int and _dims(node) == _dims(source):
        return _argument(source)
    if node.target in (aten.mul.Tensor, aten.mul.Scalar):
        return _factor_beside_one(node)
    # Elsewhere a copy gives the strides that what follows was traced with.
    if node.target is aten.clone.default and all(user.op == "output" for user in node.users):
        return source
    return None


def _factor_beside_one(node: Node) -> Node | None:
    left, right = node.args
    for kept, one in ((left, right), (right, left)):
        # Times one may still mean to spread over more dimensions, or to another type.
        if isinstance(kept, Node) and _is_one(one) and (same_values(kept, node) or _only_broadcast(kept, node)):
            return kept
    return None


def _only_broadcast(kept: Node, node: Node) -> bool:
    """Whether `kept` can stand for `node` whatever its strides: it is only viewed, to be added to something larger."""
    if value(kept).shape != value(node).shape or value(kept).dtype != value(node).dtype:
        return False
    return all(
        view.target is aten.view.default and all(_is_larger_sum(user, view) for user in view.users)
        for view in node.users
    )


def _is_larger_sum(node: Node, term: Node) -> bool:
    return node.target is aten.add.Tensor and value(node).numel() > value(term).numel()


def _is_one(value: Any) -> bool:
    if not isinstance(value, Node):
        # True equals 1 in Python.
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
    rows, inner, columns = *value(left).shape[1:], value(right).shape[2]
    with node.graph.inserting_before(node):
        if inner == 1:
            return _call(node.graph, aten.mul.Tensor, left, right)
        # (A b) = (b' A')': the library is several times faster with a single row than with a single column.
        if columns == 1 and rows > 1:
            turned = [_call(node.graph, aten.transpose.int, side, 1, 2) for side in (right, left)]
            product = _call(node.graph, aten.bmm.default, *turned)
            return _call(node.graph, aten.transpose.int, product, 1, 2)
    return None


def _fold_constants(module: GraphModule) -> None:
    """Compute once what depends on no input, and keep it with the graph."""
    known: dict[Node, Tensor] = {}
    for node in module.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload) or not is_tensor(node):
            continue
        if not (_is_pure(node) and all(source in known for source in node.all_input_nodes)):
            continue
        # Of what has no inputs only these are constant: `rand` has none either.
        if node.target in _FILLED or node.all_input_nodes:
            value = _evaluated(node, known)
            if value.numel() <= _MAX_FOLDED:
                known[node] = value
    for node, value in known.items():
        if any(user not in known for user in node.users):
            _keep(module, node, value.contiguous())
    module.graph.eliminate_dead_code()


def _view_however_it_lies(graph: Graph) -> None:
    """Let views be copies where what they look at may lie otherwise in memory than it was traced.

    With a view left out, a dimension of one element has another stride. That means nothing, but torch may take such a
    tensor for one whose channels come last, and lay out what it makes of it in that way.
    """
    otherwise = False
    for node in graph.nodes:
        otherwise = otherwise or (node.target in _FORMATTED and value(node).dim() in (4, 5) and 1 in value(node).shape)
        if otherwise and node.target is aten.view.default:
            node.target = aten.reshape.default


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
    return not writes(node) and "batch_norm" not in str(node.target)


def _call(graph: Graph, target: Any, *args: Any) -> Node:
    node = graph.call_function(target, args)
    values = [argument.meta["val"] if isinstance(argument, Node) else argument for argument in args]
    node.meta["val"] = target(*values)
    return node


def _argument(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _dims(node: Node) -> set[int]:
    return {dim % value(node).dim() for dim in node.args[1:3] if isinstance(dim, int)}
