"""Derivatives of a function of one number from its values alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Values = Callable[[float], float]

_FIRST_STEP = 0.1
_STEPS = 24
_RATIO = 1.7
"""From a step to the next; no whole number, for then all coarse steps may meet a wave at the same phase."""
_COLUMNS = 6
"""Steps that one extrapolation uses: so coarse ones, which may cross a pole, are forgotten."""
_ROUNDING = 2.0**-52
_NEAR = (1e-6, 1e-7)
_KINK = 1e-5


@dataclass(frozen=True)
class Difference:
    """A derivative estimated from differences."""

    value: float
    uncertainty: float
    """How far the last two estimates were apart."""
    scale: float
    """Largest value of the function that was met."""


def central(f: Values, x: float) -> Difference:
    """The derivative of `f` at `x`: central differences, extrapolated to a step of zero (Ridders, 1982).

    Not a number where `f` has no finite values on both sides of `x`.
    """
    best = Difference(math.nan, math.inf, abs(f(x)))
    before: list[float] = []
    step = _FIRST_STEP * max(1.0, abs(x))
    for _ in range(_STEPS):
        high, low = f(x + step), f(x - step)
        if math.isfinite(high) and math.isfinite(low):
            scale = max(best.scale, abs(high), abs(low))
            row = _extrapolated((high - low) / (2 * step), before)
            rounding = _ROUNDING * max(abs(high), abs(low)) / step
            for finer, coarser in zip(row[1:], before, strict=False):
                uncertainty = abs(finer - coarser) + rounding
                best = Difference(finer, uncertainty, scale) if uncertainty <= best.uncertainty else best
            before = row[:_COLUMNS]
        step /= _RATIO
    return best


def _extrapolated(estimate: float, before: list[float]) -> list[float]:
    """The next row of Richardson's table: each entry cancels one more even power of the step."""
    row = [estimate]
    for order, coarser in enumerate(before, start=1):
        row.append(row[-1] + (row[-1] - coarser) / (_RATIO ** (2 * order) - 1))
    return row


def sides(f: Values, x: float, scale: float = 0.0) -> tuple[float, float] | None:
    """The derivatives from the left and from the right, where `f` has a kink at `x`; None where it is smooth there.

    `scale` is the size of what `f` adds up, where that is larger than the sum: so large is its rounding.
    """
    far, near = (_sides(f, x, step * max(1.0, abs(x))) for step in _NEAR)
    gap, closer = far[1] - far[0], near[1] - near[0]
    noise = 1e-8 * max(abs(f(x)), scale) + _KINK * max(map(abs, far))
    # The two sides of a smooth function approach each other with the step; those of a kink do not.
    return near if abs(gap) > noise and closer / gap > 0.8 else None


def _sides(f: Values, x: float, step: float) -> tuple[float, float]:
    middle = f(x)
    return (middle - f(x - step)) / step, (f(x + step) - middle) / step
