"""A parsed formula: what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from shoal.errors import UsageError, suggestion


@dataclass(frozen=True)
class Number:
    """Puts a number on the stack."""

    value: float


@dataclass(frozen=True)
class Name:
    """Puts the value of a variable, a constant or an earlier formula on the stack."""

    name: str


@dataclass(frozen=True)
class Apply:
    """Replaces the top of the stack by a function of it."""

    function: str
    arguments: int


Step = Number | Name | Apply


@dataclass(frozen=True)
class Statement:
    """A formula in postfix order, and the name that later ones know it by."""

    name: str | None
    steps: tuple[Step, ...]


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
        """The value elementwise, differentiable, in the dtype of the arguments, which are broadcast.

        Raises:
            UsageError: where a variable is missing or unknown.
        """
        from shoal.expressions.tensors import evaluate

        self._check(values)
        return evaluate(self.statements, values)

    def derivative(self, *variables: str) -> Expression:
        """The derivative by each of `variables` in turn (a variable named twice: the second derivative), by SymPy.

        Raises:
            UsageError: where it has no variable of that name, or the derivative is too large to write down.
        """
        from shoal.expressions.symbolic import derivative

        self._check(dict.fromkeys(self.variables) | dict.fromkeys(variables))
        return derivative(self, variables)

    def _check(self, values: Mapping[str, object]) -> None:
        for name in values:
            if name not in self.variables:
                raise UsageError(
                    f"{self.text} has no variable {name!r}", hint=suggestion(name, self.variables, kind="it has")
                )
        for name in self.variables:
            if name not in values:
                raise UsageError(f"{self.text} needs a value for {name!r}")
