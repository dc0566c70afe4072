"""Formulas in SymPy, for their derivatives. Slow to import: only what needs a derivative does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy.printing.str import StrPrinter

from shoal.expressions.functions import FUNCTIONS
from shoal.expressions.postfix import Apply, Name, Statement


class _Own(sympy.Function):  # type: ignore[misc]
    """A function with the derivative that autograd takes, where SymPy's would be a distribution or lose digits."""

    spelling: str

    def _sympystr(self, printer: Any) -> str:
        return f"{self.spelling}({', '.join(printer.doprint(argument) for argument in self.args)})"


class _Sign(_Own):
    spelling = "sign"

    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.Integer(0)


class _Step(_Sign):
    spelling = "step"


class _Abs(_Own):
    spelling = "abs"

    def fdiff(self, argindex: int = 1) -> Any:
        return _Sign(self.args[0])


class _Relu(_Own):
    spelling = "relu"

    def fdiff(self, argindex: int = 1) -> Any:
        return _Step(self.args[0])


class _Max(_Own):
    spelling = "max"

    def fdiff(self, argindex: int = 1) -> Any:
        # Where both are equal each has a half, as torch.maximum divides its gradient.
        first, second = self.args if argindex == 1 else reversed(self.args)
        return (1 + _Sign(first - second)) / 2


class _Min(_Own):
    spelling = "min"

    def fdiff(self, argindex: int = 1) -> Any:
        first, second = self.args if argindex == 1 else reversed(self.args)
        return (1 - _Sign(first - second)) / 2


class _Sigmoid(_Own):
    """The sigmoid, kept whole: its derivative, by itself, does not overflow far from zero."""

    spelling = "sigmoid"

    def fdiff(self, argindex: int = 1) -> Any:
        return self * (1 - self)


class _Softplus(_Own):
    spelling = "softplus"

    def fdiff(self, argindex: int = 1) -> Any:
        return _Sigmoid(self.args[0])


class _Log1p(_Own):
    spelling = "log1p"

    def fdiff(self, argindex: int = 1) -> Any:
        return 1 / (1 + self.args[0])


class _Expm1(_Own):
    spelling = "expm1"

    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.exp(self.args[0])


SYMBOLIC: dict[str, Any] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "neg": lambda a: -a,
    "abs": _Abs,
    "expm1": _Expm1,
    "log10": lambda a: sympy.log(a) / sympy.log(10),
    "log1p": _Log1p,
    "log2": lambda a: sympy.log(a) / sympy.log(2),
    "max": _Max,
    "min": _Min,
    "relu": _Relu,
    "sigmoid": _Sigmoid,
    "sign": _Sign,
    "softplus": _Softplus,
    "step": _Step,
}
SYMBOLIC |= {name: getattr(sympy, name) for name in FUNCTIONS if name not in SYMBOLIC}

CONSTANTS = {"pi": sympy.pi, "e": sympy.E}


class _Printer(StrPrinter):  # type: ignore[misc]
    """Writes SymPy's expressions in the grammar of ours, numbers with all their digits."""

    def _print_Exp1(self, expr: Any) -> str:
        return "e"

    def _print_Float(self, expr: Any) -> str:
        value = float(expr)
        # SymPy's floats have exponents of any size.
        if math.isinf(value):
            raise OverflowError(value)
        return repr(value)

    def _print_Integer(self, expr: Any) -> str:
        # Its integers have any number of digits; a float64 is all that will be made of them.
        return str(expr.p) if abs(expr.p) < 10**15 else repr(float(expr.p))


def derivative(statements: Sequence[Statement], variables: Sequence[str], *, by: Sequence[str]) -> str | None:
    """The derivative of a formula by each of `by` in turn, in the grammar of ours; None where it is not real.

    Raises:
        OverflowError, ValueError, RecursionError: where it is too large to be written.
    """
    symbols = {name: sympy.Symbol(name) for name in variables}
    result = _symbolic(statements, symbols)
    for name in by:
        result = result.diff(symbols[name])
    return written(result) if real(result) else None


def real(found: Any) -> bool:
    """Whether a SymPy expression has nothing infinite, undefined or imaginary in it."""
    return not found.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)


def written(found: Any) -> str:
    """A SymPy expression in the grammar of ours.

    Raises:
        OverflowError, ValueError, RecursionError: where it is too large to be written.
    """
    return str(_Printer().doprint(found))


def _symbolic(statements: Sequence[Statement], symbols: Mapping[str, Any]) -> Any:
    """The formula as a SymPy expression, named formulas inserted."""
    known = {**CONSTANTS, **symbols}
    stack: list[Any] = []
    for statement in statements:
        # A statement leaves its value on the stack.
        stack.clear()
        for step in statement.steps:
            if isinstance(step, Apply):
                arguments = stack[-step.arguments :]
                del stack[-step.arguments :]
                stack.append(SYMBOLIC[step.function](*arguments))
            else:
                stack.append(known[step.name] if isinstance(step, Name) else number(step.value))
        if statement.name:
            known[statement.name] = stack[0]
    return stack[0]


def number(value: float) -> Any:
    """A whole number as such, so that x**2 stays a power that SymPy can simplify."""
    # Below 2**53, up to where a float64 tells whole numbers apart.
    whole = math.isfinite(value) and float(value).is_integer() and abs(value) < 1e15
    return sympy.Integer(int(value)) if whole else sympy.Float(value)
