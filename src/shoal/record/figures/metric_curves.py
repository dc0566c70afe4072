"""The curves of all runs of a sweep in one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shoal.names import STEP
from shoal.pictures.decades import logarithmic
from shoal.record.figures.colors import COLORS
from shoal.record.figures.dots import dot
from shoal.record.figures.run_figure import wide
from shoal.rundir import History


def curves_figure(groups: Mapping[str, Sequence[History]], metrics: Sequence[str], *, title: str) -> Figure:
    """A panel for each metric: thin lines are the runs of a group, the thick one is their median at each step."""
    figure = Figure(figsize=(5.5 * len(metrics), 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        drawn = [
            value
            for number, (name, histories) in enumerate(groups.items())
            for value in _group(axes, name, histories, metric, COLORS[number % len(COLORS)])
        ]
        axes.set(xlabel="step", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if wide(drawn):
            logarithmic(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _group(axes: Axes, name: str, histories: Sequence[History], metric: str, color: str) -> list[float]:
    """Draw one group; all its values."""
    at: dict[int, list[float]] = {}
    for history in histories:
        rows = [row for row in history.rows if math.isfinite(row.get(metric, math.nan))]
        steps, values = [int(row[STEP]) for row in rows], [row[metric] for row in rows]
        for step, value in zip(steps, values, strict=True):
            at.setdefault(step, []).append(value)
        if len(histories) > 1:
            axes.plot(steps, values, color=color, linewidth=0.6, alpha=0.35)
    # A median of fewer runs than before would rise or fall with those that are left.
    shared = sorted(step for step in at if len(at[step]) == len(histories))
    # Of an even number the upper of the two in the middle: a value that a run has come to.
    middle = [sorted(at[step])[len(at[step]) // 2] for step in shared]
    label = f"{name}, median of {len(histories)} runs" if len(histories) > 1 else name
    axes.plot(shared, middle, color=color, linewidth=2, marker=dot(len(middle)), label=label)
    return [value for values in at.values() for value in values]
