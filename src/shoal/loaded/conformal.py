"""Intervals and sets of classes with a guaranteed coverage, calibrated on samples that no training has seen.

Split conformal prediction: of numbers by absolute residuals, Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018),
Distribution-free predictive inference for regression, JASA 113, 1094-1111; of classes by the probability of the true
one, Sadinle, Lei and Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels, JASA 114,
223-234. What is promised holds on average, for new samples like those that were held back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy
import polars as pl
from numpy.typing import NDArray

from shoal.errors import UsageError

SEPARATOR = "|"
"""Between the classes of a set."""
_ROUNDING = 1e-9
"""What a number of samples may be above a whole number for a level that is none in binary."""


@dataclass(frozen=True)
class HeldOut:
    """Predictions for samples that no training has seen, beside what is true of them."""

    predicted: pl.DataFrame
    """As `predict` gives them."""
    truth: pl.DataFrame
    """A column a target, in its own units; of classes their names."""
    classes: tuple[str, ...] = ()

    @cached_property
    def scores(self) -> NDArray[numpy.float64]:
        """How far off each sample is in each target, (samples, targets); of classes how improbable, (samples, 1)."""
        if self.classes:
            probabilities = _probabilities(self.predicted, self.classes)
            own = [self.classes.index(name) for name in self.truth.to_series()]
            improbable: NDArray[numpy.float64] = 1 - probabilities[numpy.arange(len(own)), own][:, None]
            return improbable
        names = self.truth.columns
        off: NDArray[numpy.float64] = numpy.abs(self.predicted.select(names).to_numpy() - self.truth.to_numpy())
        return off


@dataclass(frozen=True)
class Calibrated:
    """How far the truth may lie from a prediction, at a level."""

    level: float
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    reach: NDArray[numpy.float64]
    """Of each target; of classes one number."""
    n: int
    """Samples that it was calibrated on."""
    covered: float | None
    """The share that calibration on one half of them covers of the other half; None where a half is too few."""

    def columns(self, predicted: pl.DataFrame) -> pl.DataFrame:
        """`NAME_low` and `NAME_high` of numbers; `NAME_set` of classes, with those that cannot be ruled out."""
        if self.classes:
            held = 1 - _probabilities(predicted, self.classes) <= self.reach[0]
            sets = [SEPARATOR.join(name for name, each in zip(self.classes, row, strict=True) if each) for row in held]
            return pl.DataFrame({f"{self.targets[0]}_set": sets})
        ends = {
            f"{name}{side}": predicted[name] + sign * reach
            for name, reach in zip(self.targets, self.reach.tolist(), strict=True)
            for side, sign in (("_low", -1), ("_high", 1))
        }
        return pl.DataFrame(ends)

    @property
    def told(self) -> str:
        """A sentence on the samples that the calibration rests on."""
        what = "sets of classes" if self.classes else "intervals"
        found = "half of them are too few to say what they cover of the others"
        if self.covered is not None:
            found = f"calibrated on half of them, {self.covered:.1%} of the other half lie within"
        return f"{what} of {self.level:.4g}, calibrated on the {self.n} samples of the test part; {found}"


def calibrate(held: HeldOut, level: float) -> Calibrated:
    """Find how far the truth may lie from a prediction so that a share `level` of new samples keeps to it.

    Raises:
        UsageError: where there are too few samples for that level.
    """
    # With n samples no level above n / (n + 1) can be promised.
    n, least = len(held.scores), math.ceil(level / (1 - level) - _ROUNDING)
    if n < least:
        problem = f"intervals of {level:.4g} need {least} samples to calibrate on; the test part has {n}"
        raise UsageError(problem, hint="a lower level, or a larger task.test_fraction")
    reach = _reach(held.scores, level)
    # Every other one: the file may be sorted.
    halves = (held.scores[::2], held.scores[1::2])
    covered = None
    if min(map(len, halves)) >= least:
        within = [mine <= _reach(other, level) for mine, other in (halves, halves[::-1])]
        covered = float(numpy.concatenate(within).mean())
    return Calibrated(level, tuple(held.truth.columns), held.classes, reach, n, covered)


def _reach(scores: NDArray[numpy.float64], level: float) -> NDArray[numpy.float64]:
    """The least number that as many scores as the level asks for do not exceed, one more sample counted in."""
    # The ceil((n + 1) level)-th smallest score.
    place = math.ceil((len(scores) + 1) * level - _ROUNDING)
    found: NDArray[numpy.float64] = numpy.sort(scores, axis=0)[min(place, len(scores)) - 1]
    return found


def _probabilities(predicted: pl.DataFrame, classes: Sequence[str]) -> NDArray[numpy.float64]:
    return predicted.select(f"p_{name}" for name in classes).to_numpy().astype(numpy.float64)
