"""Formulas in SymPy, for their derivatives. Slow to import: only `Expression.derivative` does."""

from __future__ import annotations

import math
from typing import Any

import sympy
from sympy.printing.str import StrPrinter

from shoal.errors import UsageError
from shoal.expressions.expression import Apply, Expression, Name, Number
from shoal.expressions.functions import FUNCTIONS
from shoal.expressions.limits import Limits
from shoal.expressions.parser import parse
from shoal.expressions.tokens import shortened

_DERIVED = Limits(characters=200_000, depth=10_000, size=100_000, power=1e300)


class _Kinked(sympy.Function):  # type: ignore[misc]
    """A function with a derivative of its own: where SymPy's would be a distribution, the one that autograd takes."""

    spelling: str

    def _sympystr(self, printer: Any) -> str:
        return f"{self.spelling}({', '.join(printer.doprint(argument) for argument in self.args)})"


class _Sign(_Kinked):
    spelling = "sign"

    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.Integer(0)


class _Step(_Sign):
    spelling = "step"


class _Abs(_Kinked):
    spelling = "abs"

    def fdiff(self, argindex: int = 1) -> Any:
        return _Sign(self.args[0])


class _Relu(_Kinked):
    spelling = "relu"

    def fdiff(self, argindex: int = 1) -> Any:
        return _Step(self.args[0])


class _Max(_Kinked):
    spelling = "max"

    def fdiff(self, argindex: int = 1) -> Any:
        first, second = self.args if argindex == 1 else reversed(self.args)
        return (1 + _Sign(first - second)) / 2


class _Min(_Kinked):
    spelling = "min"

    def fdiff(self, argindex: int = 1) -> Any:
        first, second = self.args if argindex == 1 else reversed(self.args)
        return (1 - _Sign(first - second)) / 2


class _Sigmoid(_Kinked):
    """Of its own, so that its derivative does not overflow far from zero."""

    spelling = "sigmoid"

    def fdiff(self, argindex: int = 1) -> Any:
        return self * (1 - self)


class _Softplus(_Kinked):
    spelling = "softplus"

    def fdiff(self, argindex: int = 1) -> Any:
        return _Sigmoid(self.args[0])


SYMBOLIC: dict[str, Any] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "neg": lambda a: -a,
    "abs": _Abs,
    "log10": lambda a: sympy.log(a) / sympy.log(10),
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

_CONSTANTS = {"pi": sympy.pi, "e": sympy.E}


class _Printer(StrPrinter):  # type: ignore[misc]
    """Writes SymPy's expressions in the grammar of ours, numbers with all their digits."""

    def _print_Exp1(self, expr: Any) -> str:
        return "e"

    def _print_Float(self, expr: Any) -> str:
        value = float(expr)
        if math.isinf(value):
            raise OverflowError(value)
        return repr(value)

    def _print_Integer(self, expr: Any) -> str:
        return str(expr.p) if abs(expr.p) < 10**15 else repr(float(expr.p))


def derivative(expression: Expression, variables: tuple[str, ...]) -> Expression:
    """The derivative by each of `variables` in turn."""
    symbols = {name: sympy.Symbol(name) for name in expression.variables}
    try:
        result = symbolic(expression)
        for name in variables:
            result = result.diff(symbols[name])
        if result.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
            raise UsageError(f"{shortened(expression.text)} has no real derivative by {', '.join(variables)}")
        text = _Printer().doprint(result)
    except (RecursionError, OverflowError, ValueError) as error:
        raise UsageError(f"the derivative of {shortened(expression.text)} is too large to write down") from error
    return parse(text, variables=expression.variables, limits=_DERIVED)


def symbolic(expression: Expression) -> Any:
    """The formula as a SymPy expression, named formulas inserted."""
    known = _CONSTANTS | {name: sympy.Symbol(name) for name in expression.variables}
    stack: list[Any] = []
    for statement in expression.statements:
        stack.clear()
        for step in statement.steps:
            if isinstance(step, Apply):
                arguments = stack[-step.arguments :]
                del stack[-step.arguments :]
                stack.append(SYMBOLIC[step.function](*arguments))
            else:
                stack.append(known[step.name] if isinstance(step, Name) else _number(step))
        if statement.name:
            known[statement.name] = stack[0]
    return stack[0]


def _number(step: Number) -> Any:
    whole = step.value.is_integer() and abs(step.value) < 1e15
    return sympy.Integer(int(step.value)) if whole else sympy.Float(step.value)
