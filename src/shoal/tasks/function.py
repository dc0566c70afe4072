"""Any function that can be written as a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from shoal.errors import ConfigError
from shoal.expressions import Expression, parse, pole
from shoal.tasks.curve import Surface, rising
from shoal.tasks.task import Domain


@dataclass(frozen=True, kw_only=True)
class Function(Surface):
    """y = a formula of one or more variables + noise."""

    expression: str
    """The formula: `sin(x)*x**2`, `x1*sin(x2)`, or several with names, of which the last counts: `a=x**2; exp(-a)`."""
    variables: tuple[str, ...] | None = None
    """Names of the inputs, in order; those found in the formula (a letter with or without digits) where null."""
    domain: Domain | tuple[Domain, ...] = (-1.0, 1.0)
    """Interval the inputs are drawn from: one for all of them, or a list with one for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.formula.uses:
            raise ConfigError(
                "expression",
                self.expression,
                "is not a function of x: it has no variable",
                hint="for example sin(x)*x**2",
            )
        for name in self.features:
            if name not in self.formula.uses:
                raise ConfigError("variables", self.variables, f"{name} does not occur in {self.expression}")
        for interval in self.intervals:
            rising(interval, self.domain)
        self._finite()

    @cached_property
    def formula(self) -> Expression:
        """The expression, parsed."""
        return parse(self.expression, variables=self.variables)

    @property
    def features(self) -> tuple[str, ...]:
        return self.formula.variables

    @property
    def intervals(self) -> Sequence[Domain]:
        n = len(self.features)
        first = self.domain[0]
        if not isinstance(first, tuple):
            return (self.domain,) * n  # type: ignore[return-value]
        if len(self.domain) != n:
            names = ", ".join(self.features)
            raise ConfigError(
                "domain",
                self.domain,
                f"must be one interval, or {n}: one for each of {names}",
                hint="for example [-1,1]",
            )
        return self.domain  # type: ignore[return-value]

    def truth(self, x: Float[Tensor, "samples features"]) -> Float[Tensor, "samples outputs"]:
        columns = x.split(1, dim=1)  # type: ignore[no-untyped-call]
        return self.formula(**dict(zip(self.features, columns, strict=True)))

    def _finite(self) -> None:
        found = pole(self.formula, dict(zip(self.features, self.intervals, strict=True)))
        if found:
            point = ", ".join(f"{name}={value:g}" for name, value in found.items())
            raise ConfigError(
                "expression",
                self.expression,
                f"is not finite at {point} in the domain",
                hint="choose task.domain so that it leaves that out",
            )
