"""From the slopes of a function over smaller and smaller steps to the slope over none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

RATIO = 2.3
"""From a step to the next; no whole number, for then all coarse steps may meet a wave at the same phase."""
_COLUMNS = 6
"""Steps that one extrapolation uses: so coarse ones, which may cross a pole, are forgotten."""
_FINEST = 5
"""Steps by which the behavior right at the point is told."""
_GROWTH = 1.1
"""A slope that grows by this from step to step goes on growing."""
_APPROACH = 0.4
"""The power of the step with which slopes come nearer to their limit at least; those of x**1.5 do with 0.5."""
_TOO_ROUGH = 1e3
"""Changes that are not this many times the roughness tell nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a step changes."""

    length: float
    """As it was taken: negative to the left."""
    change: float
    """Of the function."""
    digits: float
    """What rounding may have added to that, by the digits of a float64."""
    hidden: float = 0.0
    """The same, by what rounding does within the function, where that was asked."""
    shown: float = 0.0
    """The same, by the roughness of the values."""

    @property
    def slope(self) -> float:
        return self.change / self.length

    @property
    def noise(self) -> float:
        """What rounding may have added to the slope."""
        return max(self.digits, self.hidden, self.shown) / abs(self.length)


@dataclass(frozen=True)
class Slope:
    """A derivative that was estimated; infinite where the slopes grow without end, no number where there are none."""

    value: float
    uncertainty: float
    """How far estimates are apart, and what rounding does to them."""


NONE = Slope(math.nan, math.inf)


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A limit that a few neighboring steps have."""

    value: float
    uncertainty: float
    first: int
    """The coarsest step that it is made of."""
    last: int


def limit(steps: Sequence[Difference], *, even: bool = False) -> Slope:
    """The slope over a step of zero; `steps` go from coarse to fine, `even` says that only even powers of them matter.

    Slopes are extrapolated by Richardson's table (Ridders, 1982) and by the one power of the step that three of them
    tell (Aitken, 1926), as x**1.5 needs at 0. The least uncertain estimate counts: it differs
    little from its neighbors, and slopes over finer steps come nearer to it, apart from their rounding.
    """
    if len(steps) < _FINEST:
        return NONE
    if _endless(steps[-_FINEST:]):
        return Slope(math.copysign(math.inf, steps[-1].slope), 0.0)
    if _rough(steps):
        return NONE
    best = NONE
    for each in (*_richardson(steps, 2 if even else 1), *_aitken(steps)):
        if each.uncertainty < best.uncertainty:
            uncertainty = max(each.uncertainty, _contradiction(steps, each))
            best = Slope(each.value, uncertainty) if uncertainty < best.uncertainty else best
    return best


def _rough(steps: Sequence[Difference]) -> bool:
    """Whether the function moves as much over the finest steps as over coarse ones, by more than its rounding."""
    change, shown = max(abs(each.change) for each in steps), roughness(steps)
    return change < _TOO_ROUGH * shown and change > _TOO_ROUGH * min(each.digits for each in steps)


def roughness(steps: Sequence[Difference]) -> float:
    """How far the values over the finest steps are from a straight line."""
    finest = pairwise(steps[-_FINEST:])
    return max((abs(coarse.change - fine.slope * coarse.length) / (1 + RATIO) for coarse, fine in finest), default=0.0)


def _endless(finest: Sequence[Difference]) -> bool:
    """Whether the slopes grow by the same factor from step to step: a jump, or a tangent that stands upright."""
    slopes = [each.slope for each in finest]
    # The slope of what is rounding alone grows with each step as well.
    if not all(slopes) or any(abs(each.change) <= each.hidden for each in finest):
        return False
    factors = [fine / coarse for coarse, fine in pairwise(slopes)]
    return min(factors) > _GROWTH and max(factors) < _GROWTH * min(factors)


def _richardson(steps: Sequence[Difference], power: int) -> Iterator[_Estimate]:
    """Each column of the table cancels one more power of the step."""
    before: list[float] = []
    factors = [RATIO ** (power * column) - 1 for column in range(1, _COLUMNS)]
    for k, step in enumerate(steps):
        row, noise = [step.slope], step.noise
        for column, (coarser, factor) in enumerate(zip(before, factors, strict=False)):
            # D(h) + (D(h) - D(r h)) / (r^p - 1), in which the power p of the step is gone.
            value = row[-1] + (row[-1] - coarser) / factor
            # The finer slope's times 1 + 1/f, and the coarser one's, which is less, times 1/f.
            noise *= 1 + 2 / factor
            yield _Estimate(value, max(abs(value - row[-1]), abs(value - coarser)) + noise, k - column - 1, k)
            row.append(value)
        before = row


def _aitken(steps: Sequence[Difference]) -> Iterator[_Estimate]:
    """What three slopes go to whose distance from it shrinks by the same factor twice."""
    before = math.nan
    for k in range(2, len(steps)):
        coarse, middle, fine = (each.slope for each in steps[k - 2 : k + 1])
        shrinks = (fine - middle) / (middle - coarse) if middle != coarse else math.nan
        # Changes that hardly shrink lead nowhere that three of them could tell.
        if not 0 < shrinks < 1 / _GROWTH:
            before = math.nan
            continue
        # The rest of a geometric series: s + s^2 + ... = s / (1 - s) times the last change.
        value = fine + (fine - middle) * shrinks / (1 - shrinks)
        noise = steps[k].noise * 2 / (1 - shrinks) ** 2
        if not math.isnan(before):
            yield _Estimate(value, abs(value - before) + noise, k - 3, k)
        before = value


def _contradiction(steps: Sequence[Difference], estimate: _Estimate) -> float:
    """By how much finer slopes fail to come nearer to an estimate, rounding apart."""
    made_of, finer = steps[estimate.first : estimate.last + 1], steps[estimate.last + 1 :]
    distance = max(abs(each.slope - estimate.value) for each in made_of)
    finest = abs(made_of[-1].length)
    return max(
        (
            abs(each.slope - estimate.value) - distance * (abs(each.length) / finest) ** _APPROACH - 3 * each.noise
            for each in finer
        ),
        default=0.0,
    )
