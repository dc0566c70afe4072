"""The result of a fit, as run.json has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shoal.tails import t_quantile

UNDETERMINED = "not determined"
"""The note of a parameter that can be changed, alone or with others, without a change of any residual."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter as it was fitted."""

    name: str
    value: float
    error: float | None = None
    """Standard error; None for one that is fixed, at a bound or not determined."""
    low: float | None = None
    """Of the confidence interval."""
    high: float | None = None
    note: str = ""
    """Why it has no standard error."""


@dataclass(frozen=True, kw_only=True)
class OfGroup:
    """What a fit says of the samples of one group."""

    name: str
    samples: int
    cost: float
    r2: float | None
    freedom: int | None = None
    """Degrees of freedom, where the group has nothing in common with others."""
    reduced: float | None = None
    """The cost by degree of freedom, then."""
    weight: float = 1.0
    """Of the group's samples, in the mean."""
    weights: tuple[float, ...] = ()
    """The same of each target, where there are several."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What the data say of a formula."""

    parameters: tuple[Parameter, ...]
    level: float
    """Of the confidence intervals."""
    samples: int
    freedom: int
    """Degrees of freedom: samples less what they determine of the parameters, the rank of the Jacobian."""
    cost: float
    """The sum of the squared residuals, weighted where rows are, or what takes its place."""
    reduced: float | None
    """The cost by degree of freedom: chi-square where rows have standard errors."""
    deviation: float | None
    """Residual standard deviation."""
    r2: float | None
    aic: float | None
    bic: float | None
    covariance: tuple[tuple[float | None, ...], ...]
    """Of the trained parameters; 0 for one at its bound, None for one that is not determined."""
    correlations: tuple[tuple[float | None, ...], ...]
    """Of the parameters that have a standard error, in their order."""
    runs_test: float | None
    """Probability of so few or so many changes of sign among the residuals, in the order of the first column, if they
    were independent."""
    normality: float | None = None
    """Probability of so large a skewness and kurtosis of the residuals, if they were normal."""
    targets: tuple[str, ...] = ()
    """The columns that are fitted."""
    drawn: str = ""
    """Of the targets' values: by this fits of the same samples are told from others."""
    loss: str = ""
    """What was minimised."""
    absolute: bool = False
    """Whether the standard errors of the rows are taken as they are."""
    weight: float = 1.0
    """Of the samples, in the mean."""
    weights: tuple[float, ...] = ()
    """The same of each target, where there are several."""
    stopped: str | None = None
    """Why the optimizer stopped."""
    steps: int = 0
    profile: dict[str, tuple[float | None, float | None]] | None = None
    """Intervals by the profile likelihood, where they were asked for; None for an end that is not there."""
    bootstrap: dict[str, Any] | None = None
    """What resampled fits say, where they were asked for."""
    warnings: tuple[str, ...] = ()
    groups: tuple[OfGroup, ...] = ()
    """Of each group, where there are some."""

    def plain(self) -> dict[str, Any]:
        """As lists, dictionaries and numbers, for JSON."""
        return asdict(self)


def reach(level: float, freedom: int, *, absolute: bool) -> float:
    """How many standard errors an interval reaches to either side; nan where nothing is left to tell errors by.

    By Student's t where the variance is told by the residuals, and by the normal distribution where it is known.
    """
    if absolute:
        return t_quantile(level, math.inf)
    return t_quantile(level, freedom) if freedom > 0 else math.nan


def correlations(matrix: Sequence[Sequence[float]]) -> tuple[tuple[float | None, ...], ...]:
    """The correlations of a covariance matrix."""
    sizes = [math.sqrt(line[i]) for i, line in enumerate(matrix)]
    return tuple(
        tuple(value / (sizes[i] * sizes[j]) if sizes[i] * sizes[j] > 0 else None for j, value in enumerate(line))
        for i, line in enumerate(matrix)
    )
