"""Derivatives of a function of one number from its values alone: from the left, from the right, and from both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat, takewhile

import torch
from torch import Tensor

from shoal.gradcheck.slopes import NONE, RATIO, Difference, Slope, limit, roughness

Values = Callable[[float], Tensor | float]

_FIRST = 0.1
_LAST = 1e-12
"""Steps go from the first to the last, times 1 or the size of the argument where that is larger."""
_COARSE = 1e-6
"""What happens over shorter steps alone, in the same units, may be rounding: float32 inside, or a sum that cancels."""
_LAST_RELATIVE = 1e-8
"""Near zero they go on to this share of the argument: log(x) is a function as any other at 1e-20."""
_LEAST = 1e-30
_ROUNDING = 2.0**-52
_KINK = 1e-5
"""Share of the larger slope by which two sides must differ."""


@dataclass(frozen=True)
class Reading:
    """What steps of some lengths say of a derivative."""

    best: Slope
    """The least uncertain one."""
    left: Slope
    right: Slope

    @property
    def kink(self) -> tuple[float, float] | None:
        """The derivatives from the left and from the right, where they differ or one of them is infinite."""
        left, right = self.left.value, self.right.value
        if math.isnan(left) or math.isnan(right):
            return None
        if math.isinf(left) or math.isinf(right):
            return left, right
        # Ten times: both uncertainties are estimates themselves.
        noise = 10 * self._uncertainty + _KINK * max(abs(left), abs(right))
        return (left, right) if abs(right - left) > noise else None

    @property
    def smooth(self) -> bool:
        """Whether both sides are known well and are the same."""
        known = self._uncertainty <= _KINK * max(abs(self.left.value), abs(self.right.value))
        return known and self.kink is None

    @property
    def _uncertainty(self) -> float:
        return self.left.uncertainty + self.right.uncertainty


@dataclass(frozen=True)
class Differences:
    """Finite differences of a function at a point, and how far they can be trusted."""

    fine: Reading
    """By all steps."""
    coarse: Reading
    """By the coarse ones alone, as fine ones may show the rounding of the function and not the function."""
    scale: float
    """The largest slope over a coarse step, beside which far smaller ones are as good as zero; nan if there is none."""

    @property
    def kink(self) -> tuple[float, float] | None:
        """The derivatives from both sides, where they differ."""
        return None if self.coarse.smooth else self.fine.kink

    @property
    def side(self) -> str:
        """`left` or `right` where the function has values on that side alone."""
        left, right = (not math.isnan(each.value) for each in (self.fine.left, self.fine.right))
        return "" if left == right else "left" if left else "right"


def differences(f: Values, x: float, *, lost: Tensor | float = 0.0) -> Differences:
    """The derivative of the sum of `f` at `x`; no number where `f` has no finite values there or next to it.

    `lost` is what rounding does to each value, where that is more than its digits tell.
    """
    left, right = (_steps(f, x, sign, lost) for sign in (-1, 1))
    # Read once more without the fine ones: what float32 inside a function rounds shows over these alone.
    coarse = [[each for each in side if abs(each.length) > _COARSE * _size(x)] for side in (left, right)]
    # The coarser half of each side.
    slopes = [abs(each.slope) for side in (left, right) for each in side[: len(side) // 2]]
    return Differences(_reading(left, right, x), _reading(coarse[0], coarse[1], x), scale=max(slopes, default=math.nan))


def _reading(left: Sequence[Difference], right: Sequence[Difference], x: float) -> Reading:
    stairs = [_stair(side, x) for side in (left, right)]
    # Rounding makes stairs on both sides; what is flat on one side only is so itself.
    stair = max(stairs) if all(stairs) else 0.0
    left, right = _roughened(left, stair), _roughened(right, stair)
    # Paired from the fine end: where one side leaves the domain, it has fewer of the coarse steps.
    both = [_both(*pair) for pair in zip(reversed(left), reversed(right), strict=False)][::-1]
    # Of central differences the odd powers of the step cancel.
    found = limit(both, even=True), limit(left), limit(right)
    known = [each for each in found if not math.isnan(each.value)]
    return Reading(min(known, key=lambda each: each.uncertainty, default=NONE), *found[1:])


def _size(x: float) -> float:
    return max(1.0, abs(x))


def _steps(f: Values, x: float, sign: int, lost: Tensor | float) -> list[Difference]:
    """Steps to one side, coarse ones first, as far as the values over them and over all finer ones are finite."""
    # As the step is really taken: `x + length` is rounded.
    lengths = [x + sign * length - x for length in _lengths(x)]
    here = torch.as_tensor(f(x), dtype=torch.float64)
    there = torch.stack([torch.as_tensor(f(x + length), dtype=torch.float64) for length in lengths])
    changes = (there - here).reshape(len(lengths), -1)
    sizes = torch.maximum(there.abs(), here.abs()).reshape(len(lengths), -1)
    # Of a vector only one element may move; where none does, what moves them is lost in their rounding.
    moves = (changes != 0).any(dim=0)
    moving = moves if moves.any() else ~moves
    # What is done to the argument is rounded as well: sin(1e6*x) has the rounding of 1e6*x.
    through = changes.abs().sum(dim=1) * abs(x) / torch.tensor(lengths, dtype=torch.float64).abs()
    rounding = _ROUNDING * ((sizes * moving).sum(dim=1) + through)
    hidden = 2 * (torch.as_tensor(lost).flatten() * moving).sum().item()
    steps = map(Difference, lengths, changes.sum(dim=1).tolist(), rounding.tolist(), repeat(hidden))
    return [*takewhile(lambda each: math.isfinite(each.change), reversed([*steps]))][::-1]


def _lengths(x: float) -> Iterator[float]:
    length = _FIRST * _size(x)
    last = min(_LAST * _size(x), max(_LAST_RELATIVE * abs(x), _LEAST) if x else math.inf)
    while length > last:
        yield length
        length /= RATIO


def _roughened(steps: Sequence[Difference], stair: float) -> list[Difference]:
    """The steps with the rounding that the values themselves show: their digits may not explain all of it."""
    shown = max(stair, roughness(steps))
    return [replace(each, shown=shown) for each in steps]


def _stair(steps: Sequence[Difference], x: float) -> float:
    """The first change that is not lost in rounding, where over all finer steps nothing changes; else 0."""
    flat = [*takewhile(lambda each: each.change == 0, reversed(steps))]
    if not flat or len(flat) == len(steps) or abs(flat[-1].length) > _COARSE * _size(x):
        return 0.0
    return abs(steps[-1 - len(flat)].change)


def _both(left: Difference, right: Difference) -> Difference:
    return Difference(
        right.length - left.length,
        right.change - left.change,
        right.digits + left.digits,
        right.hidden + left.hidden,
        right.shown + left.shown,
    )
