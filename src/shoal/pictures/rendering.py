"""Charts drawn with matplotlib."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from shoal.pictures.chart import Band, Bars, Chart, Confusion, Dots, ErrorBars, Level, Line, Mark, Panel
from shoal.pictures.confusion import draw_confusion
from shoal.pictures.decades import logarithmic

_HEIGHT = 3.6
"""Inches."""


def rendered(chart: Chart) -> Figure:
    """The chart as a figure of matplotlib."""
    n = len(chart.panels)
    # Not by pyplot, which keeps every figure that it makes and may look for a display.
    figure = Figure(figsize=(chart.width * n, _HEIGHT), layout=ConstrainedLayoutEngine(w_pad=0.1))
    figure.suptitle(chart.title, fontsize=10)
    for axes, panel in zip(figure.subplots(1, n, squeeze=False)[0], chart.panels, strict=True):
        _panel(axes, panel)
        leave_out_spines(axes)
    return figure


def leave_out_spines(axes: Axes) -> None:
    """Let the layout not ask where the lines around the panel are: within its labels, which it asks about as well."""
    for spine in axes.spines.values():
        spine.set_in_layout(False)  # for each of them all ticks would be laid out anew, a twentieth of a figure's time


def png(figure: Figure) -> bytes:
    """The figure as a chart."""
    buffer = io.BytesIO()
    figure.set_dpi(110)
    # `savefig` lays it out, draws it into nothing, and draws it again.
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _panel(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        if isinstance(mark, Confusion):
            draw_confusion(axes, mark.counts, mark.names, panel.title)
        else:
            _draw(axes, mark)
    if not any(isinstance(mark, Confusion) for mark in panel.marks):
        axes.set(xlabel=panel.x, ylabel=panel.y)
        # At its usual place, said: else matplotlib looks for what may be in the way, at each of several measurings.
        axes.set_title(panel.title, y=1.0)
    if panel.heights is not None:
        axes.set_ylim(*panel.heights)
    if panel.few_ticks:
        axes.locator_params(axis="x", nbins=6)
    if panel.logarithmic:
        logarithmic(axes)
    if panel.legend:
        axes.legend(frameon=False, fontsize=8, title=panel.legend_title)


def _draw(axes: Axes, mark: Mark) -> None:
    color, label = mark.color, mark.label
    match mark:
        case Line():
            axes.plot(
                mark.x, mark.y, color=color, linestyle=mark.style, linewidth=mark.width, marker=mark.dot, label=label
            )
        case Dots(hollow=True):
            hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": color, "linewidths": 0.7}
            axes.scatter(mark.x, mark.y, s=mark.area, marker="^", alpha=mark.opacity, label=label, **hollow)
        case Dots():
            axes.scatter(mark.x, mark.y, s=mark.area, color=color, alpha=mark.opacity, linewidths=0, label=label)
        case ErrorBars():
            axes.errorbar(
                mark.x, mark.y, yerr=mark.errors, fmt="o", markersize=3, color=color, elinewidth=0.8, label=label
            )
        case Band():
            axes.fill_between(mark.x, mark.low, mark.high, color=color, alpha=mark.opacity, linewidth=0, label=label)
        case Level():
            axes.axhline(mark.y, color=color, linestyle=mark.style, linewidth=mark.width, label=label)
        case Bars():
            colors = [color, *[mark.others] * (len(mark.heights) - 1)]
            axes.bar_label(axes.bar(mark.names, mark.heights, color=colors), fmt="%.3f", fontsize=8)
