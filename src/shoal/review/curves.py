"""Learning curves drawn in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console

from shoal.errors import DamagedError
from shoal.judging import losses
from shoal.names import EPOCH, STEP
from shoal.review.entries import RunEntry
from shoal.review.wording import number, printable
from shoal.rundir import read_history

_COLORS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_HEIGHT = 12
_MARGIN = 24
_TICK = 10
"""Characters between two numbers below the horizontal axis."""
_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_NEAR = 1e-6
_LOG_FROM = 20
"""A logarithmic axis where the largest value is so many times the smallest."""


@dataclass(frozen=True)
class MetricCurve:
    """A metric over the epochs, or over the steps where epochs repeat."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    axis: str = EPOCH
    """What x counts."""


def histories(run: RunEntry) -> Mapping[str, MetricCurve]:
    """The curve of each metric in metrics.csv, without the values that are nan or infinite.

    Raises:
        DamagedError: where metrics.csv is missing or damaged.
    """
    rows = read_history(run.dir.history).rows
    epochs = [row[EPOCH] for row in rows if EPOCH in row]
    # With several rows an epoch there would be several values at one place.
    axis = EPOCH if len(epochs) == len(rows) == len(set(epochs)) else STEP
    names = dict.fromkeys(name for row in rows for name in row if name not in (STEP, EPOCH))
    curves = {}
    for name in names:
        points = [(row[axis], row[name]) for row in rows if math.isfinite(row.get(name, math.nan)) and axis in row]
        if points:
            curves[name] = MetricCurve(name, [x for x, _ in points], [y for _, y in points], axis)
    return curves


def draw(screen: Console, curves: Sequence[MetricCurve], *, title: str) -> None:
    """Print the curves over each other, with a legend in their colors."""
    import plotille

    color = screen.color_system is not None and not screen.no_color
    figure = plotille.Figure()
    start = min(min(curve.x) for curve in curves)
    room = max(2 * _TICK, min(100, screen.width - _MARGIN))
    figure.width, span = whole_axis(max(max(curve.x) for curve in curves) - start, room)
    figure.height = _HEIGHT
    # No origin: axes through zero would cross the curves.
    figure.color_mode, figure.with_colors, figure.origin = "names", color, False
    values = [y for curve in curves for y in curve.y]
    # Over such a span the end of a linear curve would lie on the axis.
    logarithmic = min(values) > 0 and max(values) / min(values) >= _LOG_FROM
    scaled: Callable[[float], float] = math.log10 if logarithmic else float
    # There is no half epoch to name.
    figure.x_ticks_fkt = lambda low, _: f"{low:.0f}" if abs(low - round(low)) < _NEAR else ""
    figure.y_ticks_fkt = lambda low, _: f"{10**low if logarithmic else low:.3g}"
    figure.x_label, figure.y_label = curves[0].axis, printable(title)
    low, high = min(map(scaled, values)), max(map(scaled, values))
    # A constant curve needs some height, too.
    pad = (high - low) * 0.03 or abs(low) * 0.1 or 1.0
    figure.set_y_limits(low - pad, high + pad)
    figure.set_x_limits(start, start + span)
    for curve, shade in zip(curves, _cycled(len(curves)), strict=True):
        figure.plot(list(curve.x), [scaled(y) for y in curve.y], lc=shade if color else None)
    screen.file.write(figure.show() + "\n")
    _legend(screen, curves)


def whole_axis(span: float, room: int) -> tuple[int, float]:
    """Width in characters and span of an axis at least so long, on which the ticks fall on whole numbers or between.

    There is no epoch 2.5; a tick between two epochs stays without a number.
    """
    least = max(span, 1) / (room // _TICK)
    if least <= 1:
        step = 1 / math.floor(1 / least)
    else:
        size = 10 ** math.floor(math.log10(least))
        step = next(n * size for n in _STEPS if n * size >= least and n * size % 1 == 0)
    n_ticks = math.ceil(max(span, 1) / step - _NEAR)
    return n_ticks * _TICK, n_ticks * step


def drawn(run: RunEntry, screen: Console, names: Sequence[str] | None = None) -> str | None:
    """Draw the losses of a run, or the named metrics; what stands against it where there is nothing to draw."""
    try:
        known = histories(run)
    except DamagedError as error:
        return error.problem
    chosen = [known[name] for name in names or losses(known) or list(known)[:1] if name in known]
    if not chosen or all(len(curve.x) < 2 for curve in chosen):
        return "there are fewer than two finite values to draw"
    draw(screen, chosen, title=chosen[0].name if len(chosen) == 1 else "loss")
    return None


def _cycled(n: int) -> list[str]:
    return [_COLORS[index % len(_COLORS)] for index in range(n)]


def _legend(screen: Console, curves: Sequence[MetricCurve]) -> None:
    for curve, shade in zip(curves, _cycled(len(curves)), strict=True):
        label = f"  {printable(curve.name)}: {number(float(curve.y[0]))} to {number(float(curve.y[-1]))}"
        screen.print("  ━━", style=shade, end="")
        room = screen.width - 4
        screen.print(label if cell_len(label) <= room else label[: room - 1] + "…")
