"""Mean and spread over several runs. Values that are no number are left out and counted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

HEADS = ("mean", "stderr", "std", "min", "max", "runs")
"""What a table says of a spread."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and spread of some values; nan where none of them is finite."""

    mean: float = math.nan
    std: float = math.nan
    """Standard deviation, of a sample; nan of a single value."""
    min: float = math.nan
    max: float = math.nan
    runs: int
    """Values that are finite."""
    of: int
    """Values in all."""

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.std / math.sqrt(self.runs) if self.runs else math.nan

    @property
    def cells(self) -> list[str]:
        """What stands below `HEADS`: of the runs `7 of 8` where one was left out."""
        spread = ["" if math.isnan(value) else f"{value:.4g}" for value in (self.error, self.std)]
        runs = str(self.runs) if self.runs == self.of else f"{self.runs} of {self.of}"
        return [f"{self.mean:.4g}", *spread, f"{self.min:.4g}", f"{self.max:.4g}", runs]


def over(values: Iterable[float | None]) -> Spread:
    """The spread of the values; those that are missing, nan or infinite are left out."""
    from statistics import fmean, stdev  # late: a list needs none of it

    every = list(values)
    known = [value for value in every if value is not None and math.isfinite(value)]
    if not known:
        return Spread(runs=0, of=len(every))
    # Of one run nothing is known of the spread.
    std = stdev(known) if len(known) > 1 else math.nan
    return Spread(mean=fmean(known), std=std, min=min(known), max=max(known), runs=len(known), of=len(every))
