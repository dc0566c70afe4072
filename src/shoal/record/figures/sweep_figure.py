"""A sweep in one figure: the metric against each swept setting, and the learning curves of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shoal.errors import shown
from shoal.pictures.rendering import leave_out_spines
from shoal.record.figures.colors import DARK, GRAY, ORANGE
from shoal.record.figures.hue import Hue, strongest, varying
from shoal.record.figures.sweep_axes import (
    MOST_STRIPS,
    beside,
    ends,
    kind_of_axis,
    name_ticks,
    ordered,
    room_between,
    set_scale,
    set_ticks,
    shortened,
)
from shoal.record.figures.sweep_contents import Drawn, Leader, Wording
from shoal.record.figures.sweep_curves import draw_curves

RED = "#CC3311"
MOST_SETTINGS = 7
"""Settings that get a panel at most; the others are named."""
_HOLLOW = {"facecolors": "none", "edgecolors": GRAY, "linewidths": 0.8, "label": "stopped by halving"}


def sweep_figure(
    outcomes: Sequence[Drawn], settings: Sequence[str], wording: Wording, best: Leader | None = None
) -> Figure:
    """A panel for each of `settings`, of what the runs have reached; one strip where there is none but several runs."""
    drawn = settings[:MOST_SETTINGS]
    ended = [each for each in outcomes if each.value is not None]
    panels = len(drawn) or int(len(outcomes) > 1)
    figure, axes = _grid(panels, curves=any(each.curve for each in outcomes))
    hue = strongest(outcomes, settings)
    for place, key in enumerate(drawn):
        _against(axes[place], key, outcomes, best, hue)
        # What else the runs differ in: a line through medians would say that they differ in this setting alone.
        others = [other for other in varying(outcomes, settings) if other != key]
        _medians(axes[place], key, outcomes, others, hue)
    if panels and not drawn:
        _strip(axes[0], outcomes, best, wording.repeats)
    _level(axes[:panels], [each.value for each in ended if each.value is not None], wording)
    if len(axes) > panels:
        draw_curves(axes[-1], outcomes, settings, best, wording)
    left = len(settings) - len(drawn)
    more = f"; {left} more settings: {', '.join(settings[MOST_SETTINGS:])}" if left else ""
    figure.suptitle(f"{wording.title}{more}", fontsize=10)
    return figure


def _grid(panels: int, *, curves: bool) -> tuple[Figure, list[Axes]]:
    """Two panels a row, so that they can be read in a column of text; an odd one has its row to itself."""
    n = max(panels + curves, 1)
    rows = -(-n // 2)
    figure = Figure(figsize=(8.4 if n > 1 else 5.6, 3.3 * rows + 0.5), layout="constrained")
    places = figure.add_gridspec(rows, 2 if n > 1 else 1)
    axes = [figure.add_subplot(places[i // 2, i % 2]) for i in range(n - 1)]
    last = places[rows - 1, :] if n % 2 else places[rows - 1, 1]
    axes.append(figure.add_subplot(last))
    for each in axes:
        leave_out_spines(each)
    return figure, axes


def _against(axes: Axes, key: str, outcomes: Sequence[Drawn], best: Leader | None, hue: Hue | None) -> None:
    """The runs over the values of one setting."""
    values = [each.settings.get(key) for each in outcomes]
    kind = kind_of_axis(key, values)
    places = _places(key, outcomes)
    if kind == "names":
        name_ticks(axes, [shortened(name) for name in ordered(values)])
    else:
        if kind == "log":
            axes.set_xscale("log")
        set_ticks(axes, sorted(set(places)), kind)
        axes.set_xlim(*ends(places, kind))
    dots = _runs(axes, places, outcomes, kind, hue)
    if best is not None:
        of_setting = [
            x
            for x, each in zip(places, outcomes, strict=True)
            if shown(each.settings.get(key)) == shown(best.settings.get(key))
        ]
        _star(axes, best, dots, of_setting[0] if of_setting else None)
    axes.set_xlabel(key)


def _places(key: str, outcomes: Sequence[Drawn]) -> list[float]:
    """Where each run stands on the axis of a setting."""
    values = [each.settings.get(key) for each in outcomes]
    if kind_of_axis(key, values) == "names":
        names = ordered(values)
        return [float(names.index(shown(value))) for value in values]
    return [float(value) for value in values if isinstance(value, int | float)]


def _medians(axes: Axes, key: str, outcomes: Sequence[Drawn], others: Sequence[str], hue: Hue | None) -> None:
    """The median at each value; a line through them only where the runs differ in nothing else, or in the hue alone."""
    kind = kind_of_axis(key, [each.settings.get(key) for each in outcomes])
    places = _places(key, outcomes)
    whole = [(x, each) for x, each in zip(places, outcomes, strict=True) if each.value is not None and not each.halved]
    there = sorted({x for x, _ in whole})
    # One run a place is its own median.
    if not is_strip(there, len(whole)) or len(whole) == len(there):
        return
    if hue is None or others != [hue.key] or kind == "names":
        groups = [[each.value for x, each in whole if x == at and each.value is not None] for at in there]
        _middles(axes, there, groups, kind, joined=not others)
        return
    for name, (color, marker) in hue.looks.items():
        own = [(x, each.value) for x, each in whole if hue.name(each) == name and each.value is not None]
        at = sorted({x for x, _ in own})
        middle = [float(np.median([y for x, y in own if x == place])) for place in at]
        axes.plot(at, middle, color=color, marker=marker, markersize=5, linewidth=1.2, zorder=4)


def _strip(axes: Axes, outcomes: Sequence[Drawn], best: Leader | None, repeats: str) -> None:
    """The runs of a single configuration."""
    dots = _runs(axes, [0.0] * len(outcomes), outcomes, "names", None)
    whole = [each.value for each in outcomes if each.value is not None and not each.halved]
    if len(whole) > 1:
        _middles(axes, [0.0], [whole], "names", joined=False)
    if best is not None:
        _star(axes, best, dots, 0.0)
    name_ticks(axes, [f"{len(outcomes)} {repeats}"])


def is_strip(places: Sequence[float], n_runs: int) -> bool:
    """Whether the runs at each of these places stand beside each other there."""
    return len(places) <= MOST_STRIPS or (len(places) <= 30 and n_runs >= 3 * len(places))


def _runs(
    axes: Axes, places: Sequence[float], outcomes: Sequence[Drawn], kind: str, hue: Hue | None
) -> dict[str, float]:
    """A dot a run, in the color and shape of its hue; a cross for each run without a value.

    Where the dot of each run stands.
    """
    look: dict[str, Any]
    found = [(x, each) for x, each in zip(places, outcomes, strict=True) if each.value is not None]
    distinct = sorted({x for x, _ in found})
    room = room_between(distinct, kind) if is_strip(distinct, len(found)) else 0.0
    dots = dict(zip((each.run for _, each in found), beside([x for x, _ in found], room, kind), strict=True))
    # An area in square points: few dots are seen, and many leave room for each other.
    size = min(22.0, max(4.0, 2500.0 / max(len(found), 1)))
    for look, told in _looks([each for _, each in found], hue):
        if told:
            xs, ys = [dots[each.run] for each in told], [each.value for each in told if each.value is not None]
            axes.scatter(xs, ys, s=size, alpha=0.7, zorder=2, **look)
    lost = [x for x, each in zip(places, outcomes, strict=True) if each.value is None]
    if lost:
        # Near the upper edge, by the axes' own height: a run without a value has no place on the scale.
        look = {"s": 24, "marker": "x", "color": RED, "transform": axes.get_xaxis_transform()}
        axes.scatter(beside(lost, room, kind), [0.97] * len(lost), label="failed, diverged or nan", **look)
    return dots


def _looks(found: Sequence[Drawn], hue: Hue | None) -> list[tuple[dict[str, Any], list[Drawn]]]:
    """How dots look, and the runs that they stand for; those that halving stopped are hollow."""
    whole = [each for each in found if not each.halved]
    looks: list[tuple[dict[str, Any], list[Drawn]]] = [(_HOLLOW, [each for each in found if each.halved])]
    if hue is None:
        return [({"color": GRAY, "linewidths": 0, "label": "a run"}, whole), *looks]
    for name, (color, marker) in hue.looks.items():
        look = {"color": color, "marker": marker, "linewidths": 0, "label": hue.label(name)}
        looks.append((look, [each for each in whole if hue.name(each) == name]))
    return looks


def _star(axes: Axes, best: Leader, dots: Mapping[str, float], place: float | None) -> None:
    """Mark the best setting at its mean; where each setting has one run, the best run."""
    # A mean stands in the middle of its strip; a single run's star where its dot has been moved to.
    x = place if best.over else dots.get(best.run)
    if x is not None:
        look: dict[str, Any] = {"s": 130, "marker": "*", "color": ORANGE, "edgecolors": "black", "linewidths": 0.6}
        axes.scatter([x], [best.value], zorder=5, label=best.over or f"best run, {best.run}", **look)


def _middles(
    axes: Axes, places: Sequence[float], groups: Sequence[Sequence[float]], kind: str, *, joined: bool
) -> None:
    """The median at each place, `joined` by a line or not, and the tenth to the ninetieth percentile."""
    # One row of three numbers a place: (places, 3).
    low, middle, high = np.array([np.percentile(group, [10, 50, 90]) for group in groups]).T
    axes.vlines(places, low, high, color=DARK, linewidth=1.4, zorder=3, label="10 to 90 %")
    line = "-" if joined and kind != "names" else "none"
    look: dict[str, Any] = {"marker": "_" if kind == "names" else "o", "markersize": 16 if kind == "names" else 4}
    axes.plot(places, middle, color=DARK, linestyle=line, linewidth=1.2, markeredgewidth=2, zorder=4, **look)
    # For the legend alone: one entry for the dots of a line and the bars of strips.
    axes.plot([], [], color=DARK, marker="o", markersize=4, linewidth=1.2, label="median")


def _level(panels: Sequence[Axes], values: Sequence[float], wording: Wording) -> None:
    """The same scale and limits for all panels, and one legend for them."""
    for axes in panels:
        axes.set_ylabel(f"best {wording.metric}")
        set_scale(axes, values)
    if not panels:
        return
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    # By their labels: each panel has the same ones, and the legend wants them once.
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure = panels[0].get_figure()
    assert isinstance(figure, Figure)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(len(handles), 6),
        frameon=False,
        fontsize=8,
    )
