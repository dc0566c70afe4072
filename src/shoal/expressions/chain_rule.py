"""The derivatives of a formula on tensors, by the chain rule along its program.

What is the same for many samples stays one number for them, and what does not change is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from shoal.expressions.functions import CONSTANTS, FUNCTIONS, OPERATORS
from shoal.expressions.postfix import Apply, Name, Statement
from shoal.expressions.tensors import TENSORS

Number = Tensor | float
_NUMBERS = {**OPERATORS, **FUNCTIONS}
_OF_FUNCTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "abs": lambda x, _: x.sign(),
    "acos": lambda x, _: -(1 - x * x).rsqrt(),
    "acosh": lambda x, _: (x * x - 1).rsqrt(),
    "asin": lambda x, _: (1 - x * x).rsqrt(),
    "asinh": lambda x, _: (1 + x * x).rsqrt(),
    "atan": lambda x, _: 1 / (1 + x * x),
    "atanh": lambda x, _: 1 / (1 - x * x),
    "cos": lambda x, _: -x.sin(),
    "cosh": lambda x, _: x.sinh(),
    "erf": lambda x, _: (-x * x).exp() * (2 / math.sqrt(math.pi)),
    "erfc": lambda x, _: (-x * x).exp() * (-2 / math.sqrt(math.pi)),
    "exp": lambda _, y: y,
    "expm1": lambda _, y: y + 1,
    "log": lambda x, _: 1 / x,
    "log10": lambda x, _: 1 / (x * math.log(10)),
    "log1p": lambda x, _: 1 / (1 + x),
    "log2": lambda x, _: 1 / (x * math.log(2)),
    "relu": lambda x, _: (x > 0).to(x.dtype),
    "sigmoid": lambda _, y: y * (1 - y),
    "sign": lambda x, _: torch.zeros_like(x),
    "sin": lambda x, _: x.cos(),
    "sinh": lambda x, _: x.cosh(),
    "softplus": lambda x, _: x.sigmoid(),
    "sqrt": lambda _, y: 0.5 / y,
    "step": lambda x, _: torch.zeros_like(x),
    "tan": lambda _, y: 1 + y * y,
    "tanh": lambda _, y: 1 - y * y,
}
"""The derivative of a function by its argument, from that and its value."""


class _Dual(NamedTuple):
    """A value, and its derivatives by the names that it depends on."""

    value: Number
    slopes: Mapping[str, Number]


def with_slopes(
    statements: Sequence[Statement], values: Mapping[str, Tensor], by: Sequence[str]
) -> tuple[Number, list[Number]] | None:
    """The value of the last statement, and its derivative by each of the names; None where a function has no rule.

    They are broadcast to no more than what they depend on.
    """
    known = {name: _Dual(value, {}) for name, value in CONSTANTS.items()}
    known |= {name: _Dual(value, {name: 1.0} if name in by else {}) for name, value in values.items()}
    found = _Dual(0.0, {})
    for statement in statements:
        # Their slopes are one argument's or the other's, sample by sample: autograd does that.
        if any(isinstance(step, Apply) and step.function in ("max", "min") for step in statement.steps):
            return None
        found = _run(statement, known)
        if statement.name:
            known[statement.name] = found
    return found.value, [found.slopes.get(name, 0.0) for name in by]


def _run(statement: Statement, known: Mapping[str, _Dual]) -> _Dual:
    stack: list[_Dual] = []
    for step in statement.steps:
        if isinstance(step, Apply):
            arguments = stack[-step.arguments :]
            del stack[-step.arguments :]
            stack.append(_applied(step.function, arguments))
        else:
            stack.append(known[step.name] if isinstance(step, Name) else _Dual(step.value, {}))
    return stack[0]


def _applied(function: str, arguments: Sequence[_Dual]) -> _Dual:
    given = [each.value for each in arguments]
    # Numbers alone have no slopes: what depends on a name is a tensor.
    numbers = not any(isinstance(each, Tensor) for each in given)
    value = (_NUMBERS if numbers else TENSORS)[function](*given)
    return _Dual(value, {} if numbers else _slopes(function, arguments, value))


def _slopes(function: str, arguments: Sequence[_Dual], value: Number) -> Mapping[str, Number]:
    if len(arguments) == 1:
        [x] = arguments
        if function == "neg":
            return {name: -slope for name, slope in x.slopes.items()}
        if not x.slopes:
            return {}
        assert isinstance(x.value, Tensor)
        assert isinstance(value, Tensor)
        rule = _OF_FUNCTIONS[function](x.value, value)
        # The chain rule: the outer derivative is the same for all names.
        return {name: _times(slope, rule) for name, slope in x.slopes.items()}
    a, b = arguments
    if function in "+-":
        second = b.slopes if function == "+" else {name: -slope for name, slope in b.slopes.items()}
        return _added(a.slopes, second)
    if function == "*":
        return _added(_all(a.slopes, b.value), _all(b.slopes, a.value))
    if function == "/":
        # d(a/b) = da / b - (a/b) db / b, with the quotient that is there already.
        first = _all(a.slopes, 1 / b.value) if a.slopes else {}
        return _added(first, _all(b.slopes, -value / b.value) if b.slopes else {})
    return _added(
        # Squares are most of all powers: x**1 would be computed as a power of each sample.
        _all(a.slopes, 2 * a.value if _is(b.value, 2) else b.value * a.value ** (b.value - 1)) if a.slopes else {},
        _all(b.slopes, value * _log(a.value)) if b.slopes else {},
    )


def _log(x: Number) -> Number:
    # `math.log` raises where the logarithm of a tensor is no number.
    return x.log() if isinstance(x, Tensor) else math.log(x) if x > 0 else math.nan


def _all(slopes: Mapping[str, Number], factor: Number) -> Mapping[str, Number]:
    return {name: _times(slope, factor) for name, slope in slopes.items()}


def _added(first: Mapping[str, Number], second: Mapping[str, Number]) -> Mapping[str, Number]:
    both = {**first, **second}
    return {name: first[name] + second[name] if name in first and name in second else both[name] for name in both}


def _times(a: Number, b: Number) -> Number:
    # A slope of 1 stays a number as long as it can: it would be broadcast to all samples.
    return b if _is(a, 1) else a if _is(b, 1) else a * b


def _is(value: Number, number: float) -> bool:
    return not isinstance(value, Tensor) and value == number
