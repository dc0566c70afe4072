"""Where a formula is not finite on a box."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shoal.expressions.expression import Expression

_POINTS = 4097
# In which a run trains, whatever the formula is looked at in.
_LARGEST = torch.finfo(torch.float32).max
_PEAKS = 16
"""How many of the highest points of a curve are looked at more closely for a pole."""
_LEVELS = 6
_GROWTH = 1e3
"""A pole rises above the grid's highest point by at least this; each look is 33 times closer than the one before."""


def pole(expression: Expression, intervals: Mapping[str, tuple[float, float]]) -> dict[str, float] | None:
    """A point of the box where the formula is infinite, no number, or too large for float32; None where none is found.

    The formula is evaluated on a grid, whole numbers included. For one variable the grid is then refined around its
    highest points: where the value goes on growing, there is a pole between two grid points.
    """
    points = _grid(intervals)
    values = expression(**points).abs()
    # Negated, so that what is no number counts too.
    bad = (~(values <= _LARGEST)).nonzero()
    if len(bad):
        return {name: column[bad[0, 0]].item() for name, column in points.items()}
    if len(points) == 1:
        (name,) = points
        return _between(expression, name, points[name], values)
    return None


def _grid(intervals: Mapping[str, tuple[float, float]]) -> dict[str, Tensor]:
    # So many along each side, so that there are no more points in a box than on a line.
    n = int(_POINTS ** (1 / len(intervals)))
    # Of many variables a grid has too few points along each.
    if n < 4:
        # Of its own and always the same: the answer must not change from run to run.
        generator = torch.Generator().manual_seed(0)
        unit = torch.rand(_POINTS, len(intervals), generator=generator, dtype=torch.float64)
        columns = [unit[:, i] * (high - low) + low for i, (low, high) in enumerate(intervals.values())]
        return dict(zip(intervals, columns, strict=True))
    axes = [_axis(low, high, n) for low, high in intervals.values()]
    mesh = torch.meshgrid(*axes, indexing="ij")
    return {name: each.flatten() for name, each in zip(intervals, mesh, strict=True)}


def _axis(low: float, high: float, n: int) -> Tensor:
    """Evenly spaced points from `low` to `high`, and the whole numbers between where they are not more."""
    points = torch.linspace(low, high, n, dtype=torch.float64)
    if high - low > n:
        return points
    # Poles like whole numbers, as in 1/(x-2); the end counts where it is one.
    whole = torch.arange(torch.tensor(low).ceil().item(), high + 1e-12, dtype=torch.float64)
    return torch.cat([points, whole]).sort().values


def _between(expression: Expression, name: str, points: Tensor, values: Tensor) -> dict[str, float] | None:
    # Peaks only: a pole at an end is on the grid.
    inner = values[1:-1]
    peaks = ((inner >= values[:-2]) & (inner >= values[2:])).nonzero()[:, 0] + 1
    most = _GROWTH * values.max().item()
    for peak in peaks[values[peaks].argsort(descending=True)][:_PEAKS].tolist():
        at = _refined(expression, name, points[peak - 1].item(), points[peak + 1].item(), most)
        if at is not None:
            return {name: at}
    return None


def _refined(expression: Expression, name: str, low: float, high: float, most: float) -> float | None:
    """Where between `low` and `high` the value comes to exceed `most`; None where it does not."""
    for _ in range(_LEVELS):
        # 65 parts of what was two: each look is 33 times as close.
        points = torch.linspace(low, high, 66, dtype=torch.float64)
        values = expression(**{name: points}).abs().nan_to_num(nan=torch.inf)
        top = int(values.argmax())
        if values[top].item() > most:
            return float(f"{points[top].item():.6g}")
        low, high = points[max(top - 1, 0)].item(), points[min(top + 1, 65)].item()
    return None
