"""Any function that can be written as a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import ConfigError
from shoal.expressions import Expression, parse, pole
from shoal.seeding import Stream, generator
from shoal.tasks.curve import Surface, rising
from shoal.tasks.data import Data, Split
from shoal.tasks.task import Domain

_N_POINTS = 4096
"""Points of the domain by which a function's mean and spread are found."""


@dataclass(frozen=True, kw_only=True)
class Function(Surface):
    """y = a formula of one or more variables + noise."""

    expression: str
    """The formula: `sin(x)*x**2`, `x1*sin(x2)`, or several with names, of which the last counts: `a=x**2; exp(-a)`."""
    variables: tuple[str, ...] | None = None
    """Names of the inputs, in order; those found in the formula (a letter with or without digits) where null."""
    domain: Domain | tuple[Domain, ...] = (-1.0, 1.0)
    """Interval the inputs are drawn from: one for all of them, or a list with one for each."""
    standardize: bool | Literal["auto"] = False
    """Put inputs and targets on a scale with mean 0 and standard deviation 1 for the model, as a table's are: losses
    are in that unit then, predictions in the function's own. auto does, unless a formula is fitted."""

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
        # A pole between the samples would be found by a seed that draws near it, after hours.
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

    def of_formula(self, names: Sequence[str], by: str | None = None, defined: Sequence[str] = ()) -> Function:
        """The function in its own units, with all its inputs."""
        del names, by, defined
        return replace(self, standardize=False) if self.standardize == "auto" else self

    @property
    def unit(self) -> float:
        return self._moments[1] if self.standardize else 1.0

    def data(self) -> Data:
        """The samples; where they are standardised, the targets are not rounded before that."""
        if not self.standardize:
            return super().data()
        x, noise = self.drawn()
        # Rounded to the model's type once, after they are scaled: far from zero float32 has few digits left.
        y = self.truth(x.double()) + noise
        # Without samples, for its scalings: they follow from the settings alone.
        empty = Data(Split(x[:0], y[:0]), None, self.features, ("y",), self._encoding)
        x, y = empty.of_inputs.standard(x), empty.of_targets.standard(y).to(x.dtype)
        train, val, test = self.split(x, y)
        return replace(empty, train=train, val=val, test=test)

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data) -> Tensor:
        return data.of_inputs.standard(super().encode(columns, data))

    def decode(self, outputs: Tensor, data: Data) -> dict[str, list[Any]]:
        return super().decode(data.of_targets.in_own_units(outputs.double()), data)

    @property
    def _encoding(self) -> dict[str, Any]:
        """How inputs and targets are scaled, as the encoding of a table says it."""
        columns = [
            # Those of a uniform distribution, not of the samples: the same for every seed and fold.
            {"name": name, "kind": "number", "mean": (low + high) / 2, "scale": (high - low) / math.sqrt(12)}
            | {"low": low, "high": high, "fill": None}
            for name, (low, high) in zip(self.features, self.intervals, strict=True)
        ]
        mean, scale = self._moments
        return {"kind": "regression", "target": "y", "columns": columns, "mean": mean, "scale": scale}

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the targets all over the domain: the same for every seed and fold."""
        low, high = torch.tensor(self.intervals, dtype=torch.float64).T
        # Of a seed of its own: the unit of the loss is the same in all runs of a sweep over seeds.
        drawn = generator(0, Stream.DATA, 1)
        x = torch.rand(_N_POINTS, len(low), generator=drawn, dtype=torch.float64) * (high - low) + low
        y = self.truth(x)
        # The variances of the function and of its noise add up.
        spread = math.hypot(float(y.std(correction=0)), self.noise)
        rounding = torch.finfo(torch.float64).eps * float(y.abs().max())
        # A constant function would be divided by its rounding.
        return float(y.mean()), spread if spread > rounding else 1.0

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
