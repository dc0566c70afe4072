"""The operations of torch in SymPy, on arrays of expressions: one for each element of a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor

from shoal.expressions.symbolic import SYMBOLIC, number

Elements = Any
"""A NumPy array of SymPy expressions."""


@dataclass(frozen=True)
class Operation:
    """One operation, about to be done."""

    function: Any
    """As torch knows it: an overload of an operation of ATen."""
    tensors: Sequence[Any]
    """Its arguments with their numbers."""
    arguments: Sequence[Any]
    """The same with an array of expressions in place of each tensor."""
    settings: Mapping[str, Any]
    """The named ones."""

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """By position or by name."""
        if position < len(self.arguments):
            return self.arguments[position]
        return self.settings.get(name, default)


Rule = Callable[[Operation], Elements]


def elements(tensor: Tensor) -> Elements:
    """The numbers of a tensor as expressions."""
    values = tensor.detach().to(torch.float64).numpy()
    return np.asarray(np.frompyfunc(lambda value: number(float(value)), 1, 1)(values), dtype=object)


def _elementwise(function: Callable[..., Any], operands: int = 1) -> Rule:
    made = np.frompyfunc(function, operands, 1)
    return lambda operation: made(*map(_expressions, operation.arguments[:operands]))


def _expressions(argument: Any) -> Any:
    return number(float(argument)) if isinstance(argument, int | float) else argument


def _added(sign: int) -> Rule:
    made = np.frompyfunc(lambda first, second, alpha: first + sign * alpha * second, 3, 1)
    return lambda operation: made(*map(_expressions, (*operation.arguments[:2], operation.argument(2, "alpha", 1))))


def _reversed(operation: Operation) -> Elements:
    first, second, *rest = operation.arguments
    return RULES["sub"](replace(operation, arguments=(second, first, *rest)))


def _bounded(operation: Operation) -> Elements:
    found = operation.arguments[0]
    low, high = (_expressions(operation.argument(1, "min")), _expressions(operation.argument(2, "max")))
    found = found if low is None else np.frompyfunc(SYMBOLIC["max"], 2, 1)(found, low)
    return found if high is None else np.frompyfunc(SYMBOLIC["min"], 2, 1)(found, high)


def _dimensions(operation: Operation, position: int) -> tuple[int, ...] | None:
    given = operation.argument(position, "dim")
    if given is None or given == [] or not operation.tensors[0].dim():
        return None
    # NumPy takes a tuple of axes, and no list.
    return (given,) if isinstance(given, int) else tuple(given)


def _reduced(reduction: Callable[..., Any]) -> Rule:
    def rule(operation: Operation) -> Elements:
        kept = bool(operation.argument(2, "keepdim", False))
        return reduction(operation.arguments[0], axis=_dimensions(operation, 1), keepdims=kept)

    return rule


def _mean(values: Elements, *, axis: tuple[int, ...] | None, keepdims: bool) -> Elements:
    found = np.sum(values, axis=axis, keepdims=keepdims)
    return found / number(np.size(values) / max(np.size(found), 1))


def _variance(operation: Operation) -> Elements:
    values, axis = operation.arguments[0], _dimensions(operation, 1)
    correction = operation.argument(2, "correction")
    deviations = (values - _mean(values, axis=axis, keepdims=True)) ** 2
    found = np.sum(deviations, axis=axis, keepdims=bool(operation.settings.get("keepdim", False)))
    return found / number(np.size(values) / np.size(found) - (1 if correction is None else correction))


def _product(operation: Operation) -> Elements:
    kept = bool(operation.argument(2, "keepdim", False))
    return np.prod(operation.arguments[0], axis=_dimensions(operation, 1), keepdims=kept)


def _cumulated(function: Callable[..., Any]) -> Rule:
    return lambda operation: function(operation.arguments[0], axis=operation.argument(1, "dim"))


def _norm(operation: Operation) -> Elements:
    order = float(operation.argument(1, "ord", 2))
    # Of these the norm is a maximum, a minimum or a count.
    if not math.isfinite(order) or order <= 0:
        raise NotImplementedError
    values = operation.arguments[0]
    powers = values**2 if order == 2 else np.frompyfunc(SYMBOLIC["abs"], 1, 1)(values) ** number(order)
    kept = bool(operation.argument(3, "keepdim", False))
    # A rational exponent: SymPy simplifies the square root of a square, and not a power of 0.5.
    return np.sum(powers, axis=_dimensions(operation, 2), keepdims=kept) ** (1 / sympy.nsimplify(number(order)))


def _chosen(pick: Callable[..., Any]) -> Rule:
    """The element that is the largest or the smallest here."""

    def rule(operation: Operation) -> Elements:
        symbols, numbers = operation.arguments[0], operation.tensors[0].detach().numpy()
        axes = _dimensions(operation, 1) or tuple(range(numbers.ndim))
        last = tuple(range(numbers.ndim - len(axes), numbers.ndim))
        # All axes that are reduced become one, along which NumPy can pick.
        numbers, symbols = np.moveaxis(numbers, axes, last), np.moveaxis(symbols, axes, last)
        rows = (*numbers.shape[: numbers.ndim - len(axes)], -1)
        at = pick(numbers.reshape(rows), axis=-1)[..., None]
        found = np.take_along_axis(symbols.reshape(rows), at, -1)[..., 0]
        return np.expand_dims(found, axes) if operation.argument(2, "keepdim", False) else found

    return rule


def _extreme(pick: Callable[..., Any]) -> Rule:
    """The rule of `max` and `min`: over all elements, along a dimension with places, or of two tensors."""

    def rule(operation: Operation) -> Elements:
        return (_chosen(pick) if len(operation.arguments) == 1 else _placed(1))(operation)

    return rule


def _placed(position: int) -> Rule:
    """The elements at the places that torch gives beside them; `position` is that of the dimension."""

    def rule(operation: Operation) -> Elements:
        # Asked of torch: at a tie its place counts, which NumPy may not share.
        found, places = operation.function(*operation.tensors, **operation.settings)
        symbols, axis = operation.arguments[0], operation.argument(position, "dim", -1)
        kept = found.dim() == operation.tensors[0].dim()
        at = places.numpy() if kept else np.expand_dims(places.numpy(), axis)
        taken = np.take_along_axis(symbols, at, axis)
        return taken if kept else np.squeeze(taken, axis)

    return rule


def _moved(operation: Operation) -> Elements:
    """An operation that only moves elements: torch moves their places in a row, where place 0 is a zero for gaps."""
    # `accumulate` adds up, a number or a `value` is written in: neither only moves elements.
    sums = any(isinstance(each, bool) and each for each in operation.arguments)
    if sums or any(isinstance(each, float) for each in operation.arguments) or "value" in operation.function.__name__:
        raise NotImplementedError
    known = [sympy.Integer(0)]

    def placed(argument: Any, tensor: Any) -> Any:
        if isinstance(tensor, list | tuple):
            return [placed(each, own) for each, own in zip(argument, tensor, strict=True)]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            return tensor
        first = len(known)
        known.extend(argument.flatten())
        return torch.arange(first, len(known)).reshape(tensor.shape)

    arguments = [placed(*pair) for pair in zip(operation.arguments, operation.tensors, strict=True)]
    # The places are whole numbers: a dtype that the elements are to have is not for them.
    settings = {name: value for name, value in operation.settings.items() if name not in ("dtype", "memory_format")}
    places = operation.function(*arguments, **settings)
    # Filled afterwards: `np.array` would look into expressions for sequences.
    row = np.empty(len(known), dtype=object)
    row[:] = known
    return row[places.numpy()]


def _selected(operation: Operation) -> Elements:
    return np.where(operation.tensors[0].numpy(), *map(_expressions, operation.arguments[1:3]))


def _remainder(rounded: Callable[..., Any]) -> Rule:
    """What is left of a division, around a point where the quotient is not whole."""
    # The quotient is a number here: it jumps, and is flat between the jumps.
    made = np.frompyfunc(lambda x, y, quotient: x - y * number(float(quotient)), 3, 1)

    def rule(operation: Operation) -> Elements:
        x, y = (each.detach() if isinstance(each, Tensor) else each for each in operation.tensors[:2])
        return made(*map(_expressions, operation.arguments[:2]), rounded(x / y).numpy())

    return rule


def _filled(operation: Operation) -> Elements:
    return np.broadcast_to(_expressions(operation.arguments[1]), operation.arguments[0].shape)


def _matrices(operation: Operation) -> Elements:
    return np.matmul(operation.arguments[0], operation.arguments[1])


_SPELLINGS = {"reciprocal": lambda x: 1 / x, "rsqrt": lambda x: x ** sympy.Rational(-1, 2), "exp2": lambda x: 2**x}
_UNARY = SYMBOLIC.keys() - {"+", "-", "*", "/", "**", "max", "min", "step", "softplus"} | {"sgn"}
_MOVES = (
    "cat clone contiguous diagonal_scatter flip gather index index_copy index_put index_select masked_scatter "
    "masked_select repeat roll rot90 scatter select_scatter slice_scatter stack take triu tril"
)

RULES: dict[str, Rule] = {
    **{name: _elementwise(SYMBOLIC["sign" if name == "sgn" else name]) for name in _UNARY},
    **{name: _elementwise(function) for name, function in _SPELLINGS.items()},
    **dict.fromkeys(_MOVES.split(), _moved),
    **dict.fromkeys(["mm", "bmm", "mv", "dot", "vdot"], _matrices),
    "add": _added(1),
    "sub": _added(-1),
    "rsub": _reversed,
    "mul": _elementwise(lambda a, b: a * b, 2),
    "div": _elementwise(lambda a, b: a / b, 2),
    "pow": _elementwise(lambda base, exponent: base**exponent, 2),
    "square": _elementwise(lambda x: x**2),
    "maximum": _elementwise(SYMBOLIC["max"], 2),
    "minimum": _elementwise(SYMBOLIC["min"], 2),
    "fmax": _elementwise(SYMBOLIC["max"], 2),
    "fmin": _elementwise(SYMBOLIC["min"], 2),
    "hypot": _elementwise(lambda a, b: sympy.sqrt(a**2 + b**2), 2),
    "fmod": _remainder(torch.trunc),
    "remainder": _remainder(torch.floor),
    "where": _selected,
    "clamp": _bounded,
    "clamp_min": _elementwise(SYMBOLIC["max"], 2),
    "clamp_max": _elementwise(SYMBOLIC["min"], 2),
    "sum": _reduced(np.sum),
    "mean": _reduced(_mean),
    "var": _variance,
    "prod": _product,
    "cumsum": _cumulated(np.cumsum),
    "cumprod": _cumulated(np.cumprod),
    "linalg_vector_norm": _norm,
    "amax": _chosen(np.argmax),
    "amin": _chosen(np.argmin),
    "max": _extreme(np.argmax),
    "min": _extreme(np.argmin),
    "median": _placed(1),
    "sort": _placed(1),
    "topk": _placed(2),
    "copy": _filled,
    "copy_to": _filled,
    "fill": _filled,
}
"""By the name of the operation, without the underscore of those that work in place."""

_FLAT = (
    "floor ceil round trunc heaviside empty_like full_like new_empty new_empty_strided new_full new_ones new_zeros "
    "ones_like rand_like randn_like zero zeros_like"
)
FLAT = frozenset(_FLAT.split())
"""Operations whose value does not change when their operands change a little."""
