"""A formula: read from text, evaluated on tensors, differentiated by SymPy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shoal.errors import UsageError, suggestion
from shoal.expressions.chain_rule import Number, with_slopes
from shoal.expressions.limits import Limits
from shoal.expressions.parser import parsed
from shoal.expressions.postfix import Statement
from shoal.expressions.tensors import evaluate
from shoal.expressions.tokens import shortened

_DERIVED = Limits(characters=200_000, depth=10_000, size=100_000, power=1e300)
"""What SymPy writes may be longer than what a person would."""


@dataclass(frozen=True)
class Expression:
    """A formula of named variables. Its value is that of the last statement."""

    text: str
    statements: tuple[Statement, ...] = field(repr=False)
    variables: tuple[str, ...]
    """Names of its arguments: those declared, or else those found, x2 before x10."""
    uses: frozenset[str] = field(repr=False)
    """The variables that occur in it."""

    def __str__(self) -> str:
        return self.text

    def __call__(self, **values: Tensor) -> Tensor:
        """Evaluate it elementwise; arguments are broadcast, the value has their dtype and can be differentiated.

        Raises:
            UsageError: where a variable is missing or unknown.
        """
        self._check(values)
        return evaluate(self.statements, values)

    def with_slopes(self, values: Mapping[str, Tensor], by: Sequence[str]) -> tuple[Number, list[Number]] | None:
        """The value, and its derivatives by some of the variables, each broadcast to no more than it depends on.

        None where it has a function that the rules for them do not know.
        """
        return with_slopes(self.statements, values, by)

    def derivative(self, *variables: str) -> Expression:
        """The derivative by each of `variables` in turn (a variable named twice: the second derivative), by SymPy.

        Raises:
            UsageError: where it has no variable of that name, or the derivative is too large to write down.
        """
        from shoal.expressions.symbolic import derivative  # late: SymPy takes half a second

        # With all of its own names, so that none is missed: only one too many is a mistake here.
        self._check(dict.fromkeys(self.variables) | dict.fromkeys(variables))
        problem = f"the derivative of {shortened(self.text)} is too large to write down"
        try:
            found = derivative(self.statements, self.variables, by=variables)
            if found is None:
                raise UsageError(f"{shortened(self.text)} has no real derivative by {', '.join(variables)}")
            # Through the text: the derivative is then a formula as any other, to be evaluated, shown and kept.
            return parse(found, variables=self.variables, limits=_DERIVED)
        except (RecursionError, OverflowError, ValueError) as error:
            raise UsageError(problem) from error

    def _check(self, values: Mapping[str, object]) -> None:
        for name in values:
            if name not in self.variables:
                raise UsageError(
                    f"{self.text} has no variable {name!r}", hint=suggestion(name, self.variables, kind="it has")
                )
        for name in self.variables:
            if name not in values:
                raise UsageError(f"{self.text} needs a value for {name!r}")


def parse(text: str, *, variables: Collection[str] | None = None, limits: Limits | None = None) -> Expression:
    """The formula in `text`: `sin(x)*x**2`, or several with names, of which the last counts: `y=2*x+1; z=y**2`.

    `variables` are the names it may have. Where they are not given, a letter with or without digits (x, t, x1) is a
    variable and every longer name is taken for a slip of the pen.

    Raises:
        ConfigError: with the column, where the text is no formula, is too large, or has a constant that is not finite.
    """
    found = parsed(text, variables, limits or Limits())
    return Expression(text, found.statements, found.variables, found.uses)


def from_sympy(found: Any, variables: tuple[str, ...]) -> Expression:
    """A SymPy expression as one of ours.

    Raises:
        ConfigError, OverflowError, ValueError, RecursionError: where it is too large.
    """
    from shoal.expressions.symbolic import written

    return parse(written(found), variables=variables, limits=_DERIVED)
