"""Pointwise operations as expressions in C that round as torch's own kernels do.

Where a kernel of torch multiplies and adds with one rounding, so does the expression; whether it does depends on the
processor, and `muladd` stands for it in C, as `maximum` and `minimum` stand for what a processor takes of 0 and -0.
Operations that a vector library computes (exp, tanh, the square root, ...) are not here: no other code has their last
bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

aten = torch.ops.aten

SUFFIXES = {torch.float32: "f", torch.float64: ""}
"""Of C's functions and literals, for the types that are computed with."""

_EXPRESSIONS: dict[Any, str] = {
    aten.add.Tensor: "{a} + {b}",
    aten.add.Scalar: "{a} + {b}",
    aten.sub.Tensor: "{a} - {b}",
    aten.sub.Scalar: "{a} - {b}",
    aten.rsub.Scalar: "{b} - {a}",
    aten.mul.Tensor: "{a} * {b}",
    aten.mul.Scalar: "{a} * {b}",
    aten.div.Tensor: "{a} / {b}",
    aten.div.Scalar: "{a} / {b}",
    aten.neg.default: "-{a}",
    aten.abs.default: "__builtin_fabs{f}({a})",
    aten.rsqrt.default: "1 / __builtin_sqrt{f}({a})",
    aten.reciprocal.default: "1 / {a}",
    aten.sign.default: "({a} > 0) - ({a} < 0)",
    aten.sgn.default: "({a} > 0) - ({a} < 0)",
    aten.relu.default: "maximum{f}(0, {a})",
    aten.threshold_backward.default: "{b} <= {c} ? 0 : {a}",
    aten.leaky_relu.default: "{a} > 0 ? {a} : {a} * {b}",
    aten.leaky_relu_backward.default: "{b} > 0 ? {a} : {a} * {c}",
    aten.clamp_min.default: "maximum{f}({b}, {a})",
    aten.clamp_max.default: "minimum{f}({b}, {a})",
    aten.maximum.default: "maximum{f}({a}, {b})",
    aten.minimum.default: "minimum{f}({a}, {b})",
    # Factors stand in the order in which torch's kernels multiply them: another order rounds otherwise.
    aten.sigmoid_backward.default: "{a} * (1 - {b}) * {b}",
    aten.tanh_backward.default: "{a} * muladd{f}(-{b}, {b}, 1)",
    aten.mse_loss.default: "({a} - {b}) * ({a} - {b})",
    aten.addcmul.default: "muladd{f}({value} * {b}, {c}, {a})",
    aten.addcdiv.default: "{a} + {value} * {b} / {c}",
    # From the nearer of the two ends, as torch does.
    aten.lerp.Tensor: (
        "muladd{f}(__builtin_fabs{f}({c}) < {half} ? {c} : {c} - 1, {b} - {a}, "
        "__builtin_fabs{f}({c}) < {half} ? {a} : {b})"
    ),
    aten.where.self: "{a} ? {b} : {c}",
    aten.masked_fill.Scalar: "{b} ? {c} : {a}",
    aten.eq.Tensor: "{a} == {b}",
    aten.eq.Scalar: "{a} == {b}",
    aten.ne.Tensor: "{a} != {b}",
    aten.ne.Scalar: "{a} != {b}",
    aten.lt.Tensor: "{a} < {b}",
    aten.lt.Scalar: "{a} < {b}",
    aten.le.Tensor: "{a} <= {b}",
    aten.le.Scalar: "{a} <= {b}",
    aten.gt.Tensor: "{a} > {b}",
    aten.gt.Scalar: "{a} > {b}",
    aten.ge.Tensor: "{a} >= {b}",
    aten.ge.Scalar: "{a} >= {b}",
    aten.logical_and.default: "{a} && {b}",
    aten.logical_or.default: "{a} || {b}",
    aten.logical_not.default: "!{a}",
}
"""By operation; {a}, {b}, {c} are its arguments, {f} the suffix of C's functions."""

_FLUSHED = "__builtin_fma{{f}}({}, 1, -0.0{{f}})"
"""A number as it is, and zero for one that the processor takes as zero in whatever it computes."""

_POWERS: dict[Any, str] = {1: "{a}", 2: "{a} * {a}", 3: "{a} * {a} * {a}"}
"""The powers that torch multiplies out."""

_ALLOWED: dict[Any, Mapping[str, Any]] = {
    aten.mse_loss.default: {"reduction": 0},
    aten.leaky_relu_backward.default: {"self_is_result": False},
}
"""What further arguments have to be for the expression to hold; the factor of a sum's second term has to be 1."""


def expression(node: Node, names: Mapping[Node, str]) -> str | None:
    """The operation of a node in C, with the given names of its inputs; None where it has none here."""
    dtype = computed_in(node)
    template = _template(node)
    if dtype is None or template is None:
        return None
    given = _arguments(node)
    texts = {
        name: names.get(value, "") if isinstance(value, Node) else literal(value, dtype)
        for name, value in given.items()
        if isinstance(value, Node | int | float)
    }
    named = dict(zip("abc", texts.values(), strict=False)) | texts
    return template.format(**named, f=SUFFIXES[dtype], half=literal(0.5, dtype))


def definitions() -> str:
    """The functions in C that expressions call; each does what torch's kernels do on this processor."""
    product = "__builtin_fma{f}(x, y, z)" if _rounds_once() else "x * y + z"
    larger, smaller = "x != x || x > y ? x : y", "x != x || x < y ? x : y"
    if _orders_zeros():
        larger = _FLUSHED.format(f"x == 0 && y == 0 ? x + y : {larger}")
        smaller = _FLUSHED.format(f"x == 0 && y == 0 ? -(-x - y) : {smaller}")
    functions = {"muladd": ("xyz", product), "maximum": ("xy", larger), "minimum": ("xy", smaller)}
    return "".join(
        _function(name, arguments, text, kind, suffix)
        for name, (arguments, text) in functions.items()
        for kind, suffix in (("float", "f"), ("double", ""))
    )


def _function(name: str, arguments: str, text: str, kind: str, suffix: str) -> str:
    given = ", ".join(f"{kind} {each}" for each in arguments)
    return f"static inline {kind} {name}{suffix}({given}) {{ return {text.format(f=suffix)}; }}\n"


@cache
def _rounds_once() -> bool:
    """Whether torch's kernels multiply and add with one rounding: 3 times a third is not 1 to the last bit then."""
    # 64 of them, to fill vectors: elements that are left over are computed by other instructions.
    third, three = torch.full((64,), 1 / 3), torch.full((64,), 3.0)
    return bool((torch.addcmul(-torch.ones(64), third, three) != 0).all())


@cache
def _orders_zeros() -> bool:
    """Whether 0 is larger than -0 to torch's kernels, as on arm64; elsewhere they take the second of the two."""
    zero = torch.zeros(64)
    return not bool(torch.maximum(zero, -zero).signbit().any())


def computed_in(node: Node) -> torch.dtype | None:
    """The one floating-point type of a pointwise node's tensors on the CPU; None where there is no such."""
    values = [each.meta.get("val") for each in (node, *node.all_input_nodes)]
    types = {value.dtype if isinstance(value, Tensor) else None for value in values}
    if not types <= {*SUFFIXES, torch.bool}:
        return None
    found = types - {torch.bool}
    if not found:  # of flags alone
        return torch.float32
    return found.pop() if len(found) == 1 else None


def literal(value: Any, dtype: torch.dtype) -> str:
    """A number in C, rounded to the type."""
    rounded = torch.tensor(value, dtype=torch.float64).to(dtype).item()
    if math.isfinite(rounded):
        # In hexadecimal, which a compiler need not round.
        return f"({float(rounded).hex()}{SUFFIXES[dtype]})"
    if math.isnan(rounded):
        return f'__builtin_nan{SUFFIXES[dtype]}("")'
    return f"({'-' if rounded < 0 else ''}__builtin_inf{SUFFIXES[dtype]}())"


def _template(node: Node) -> str | None:
    if node.op != "call_function":
        return None
    if node.target is aten.pow.Tensor_Scalar:
        return _POWERS.get(node.args[1])
    template = _EXPRESSIONS.get(node.target)
    return template if template is not None and _as_expected(node) else None


def _as_expected(node: Node) -> bool:
    """Whether the arguments that the expression does not name have the values that it takes for granted."""
    rules = {"alpha": 1, **_ALLOWED.get(node.target, {})}
    given = _arguments(node)
    return all(given[name] == value for name, value in rules.items() if name in given)


def _arguments(node: Node) -> dict[str, Any]:
    """All arguments of an operation by name, in the order of its schema."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    schema = target._schema.arguments
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given = dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
    return {argument.name: {**defaults, **given}[argument.name] for argument in schema}
