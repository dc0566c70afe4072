"""How large a formula may be: so that no text, however short, keeps the machine busy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shoal.expressions.functions import CONSTANTS, FUNCTIONS, OPERATORS
from shoal.expressions.postfix import Apply, Name, Step
from shoal.expressions.tokens import Token, refuse


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a formula may have at most."""

    characters: int = 2000
    depth: int = 50
    """Parentheses and functions inside one another, named formulas inserted."""
    size: int = 5000
    """Operands and operators, named formulas inserted."""
    power: float = 1000.0
    """Product of the constant exponents that are applied one after another."""


@dataclass(frozen=True)
class Size:
    """The size of a formula, known without evaluating it."""

    constant: float | None
    """Its value, where it has no variable."""
    size: int = 1
    depth: int = 0
    power: float = 1.0


class Sizing:
    """Runs a program on sizes instead of numbers."""

    def __init__(self, text: str, limits: Limits, bound: Mapping[str, Size]) -> None:
        self.text = text
        self.limits = limits
        self.bound = bound
        self.stack: list[Size] = []

    def add(self, step: Step, word: Token) -> None:
        """One more step, written as `word`.

        Raises:
            ConfigError: where the formula passes a limit, or a constant is not finite.
        """
        if isinstance(step, Apply):
            arguments = self.stack[-step.arguments :]
            del self.stack[-step.arguments :]
            self.stack.append(self.applied(step.function, arguments, word))
        elif isinstance(step, Name):
            self.stack.append(self.bound.get(step.name) or Size(CONSTANTS.get(step.name)))
        else:
            self.stack.append(Size(self.finite(step.value, word)))

    def applied(self, function: str, arguments: list[Size], word: Token) -> Size:
        # A named formula counts wherever it is used: a chain of them may double each time.
        size = 1 + sum(argument.size for argument in arguments)
        depth = max(argument.depth for argument in arguments) + (function in FUNCTIONS or function == "**")
        power = max(argument.power for argument in arguments)
        if function == "**":
            # At least 1: a root within powers makes them no cheaper.
            power *= max(abs(arguments[1].constant or 1.0), 1.0)
        self.within(word, size, self.limits.size, "has {} operands and operators")
        self.within(word, depth, self.limits.depth, "is nested {} deep")
        self.within(word, power, self.limits.power, "has a power of {:g}")
        return Size(self.constant(function, arguments, word), size, depth, power)

    def within(self, word: Token, measured: int | float, most: int | float, problem: str) -> None:
        if measured > most:
            refuse(self.text, word.column, f"{problem.format(measured)}; at most {most:g} is allowed", hint="")

    def constant(self, function: str, arguments: list[Size], word: Token) -> float | None:
        values = [argument.constant for argument in arguments]
        if None in values:
            return None
        try:
            # What has no variable is computed now: that it is not finite is said before anything trains.
            value = {**OPERATORS, **FUNCTIONS}[function](*values)
        except ZeroDivisionError:
            refuse(self.text, word.column, "divides by zero", hint="")
        except OverflowError:
            refuse(self.text, word.column, "is too large for a number", hint="")
        except ValueError:
            refuse(self.text, word.column, f"{word.text} has no real value here", hint="")
        return self.finite(value, word)

    def finite(self, value: int | float, word: Token) -> float:
        if abs(value) == float("inf"):
            refuse(self.text, word.column, "is too large for a number", hint="")
        return float(value)

    def result(self) -> Size:
        """The size of the whole program."""
        return self.stack[-1]
