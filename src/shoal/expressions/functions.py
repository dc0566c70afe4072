"""The names a formula may use, and what they are for plain numbers (for tensors: `tensors`, for SymPy: `symbolic`)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e}

OPERATORS: dict[str, Callable[..., float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": math.pow,
    "neg": operator.neg,
}
"""`neg` is the minus sign in front of an operand. `math.pow` refuses what is no real number, or too large for one."""


def _sigmoid(x: float) -> float:
    # Not 1 / (1 + exp(-x)), which overflows far below zero.
    return 0.5 * (1 + math.tanh(x / 2))


def _softplus(x: float) -> float:
    # Of a negative exponent alone, which cannot overflow.
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sign(x: float) -> float:
    return float((x > 0) - (x < 0))


FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "acos": math.acos,
    "acosh": math.acosh,
    "asin": math.asin,
    "asinh": math.asinh,
    "atan": math.atan,
    "atanh": math.atanh,
    "cos": math.cos,
    "cosh": math.cosh,
    "erf": math.erf,
    "erfc": math.erfc,
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log10": math.log10,
    "log1p": math.log1p,
    "log2": math.log2,
    "max": max,
    "min": min,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": _sigmoid,
    "sign": _sign,
    "sin": math.sin,
    "sinh": math.sinh,
    "softplus": _softplus,
    "sqrt": math.sqrt,
    "step": lambda x: float(x > 0),
    "tan": math.tan,
    "tanh": math.tanh,
}
"""`log` is the natural logarithm; `log1p(x)` is `log(1+x)` and `expm1(x)` is `exp(x)-1`, exact near 0; `step` is 1
where its argument is positive, else 0.
"""

SEVERAL = frozenset({"max", "min"})
"""Functions of two arguments or more; all others have one."""

NAMES = {**FUNCTIONS, **CONSTANTS}
