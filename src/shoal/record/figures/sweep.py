"""A sweep in one figure: the metric against each swept setting, and the learning curves of its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from shoal.errors import shown
from shoal.names import STEP
from shoal.record.figures.fit import BLUE, GRAY, ORANGE
from shoal.record.figures.metric_curves import COLORS

RED = "#CC3311"
RATES = frozenset({"lr", "weight_decay", "eps", "momentum_decay", "gradient_clip_val"})
"""Settings of which orders of magnitude matter, by the last part of their names."""
MOST_SETTINGS = 7
"""Settings that get a panel at most; the others are named."""
MOST_LINES = 40
"""Curves drawn one by one at most; of more runs their percentiles are drawn."""
MOST_CURVES = 512
"""Runs whose curves are worth reading for percentiles: as many more change nothing that can be seen."""
_BEST = {False: "best run", True: "its best run"}
"""What the run is called whose curve stands for the best setting, also where a mean over several runs has the star."""
_HOLLOW = {"facecolors": "none", "edgecolors": GRAY, "linewidths": 0.8, "label": "stopped by halving"}
_MOST_TICKS = 6
_MOST_STRIPS = 12
_LONGEST_LABEL = 40
_N_STEPS = 200
"""Steps at which curves of unequal steps are compared."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What one run of a sweep has come to."""

    run: str
    """Name of its directory."""
    settings: Mapping[str, Any]
    """The values of the swept settings, seeds and folds left out."""
    value: float | None
    """Of the metric at its best; None where the run did not complete, or has no finite one."""
    halved: bool = False
    """Whether halving has stopped it: it has no part in what is said of those that were trained to the end."""
    curve: Sequence[tuple[float, float]] = ()
    """Step and metric, one pair a row of its history, where its curve is to be drawn."""


@dataclass(frozen=True, kw_only=True)
class Leader:
    """The best setting, which has a star."""

    run: str
    """Its best run, whose curve stands for it."""
    settings: Mapping[str, Any]
    value: float
    """What it has come to."""
    over: str | None = None
    """Over what that is the mean, where it is one: `best mean over seeds`."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What the figure calls things."""

    title: str
    metric: str
    rises: bool = False
    """Whether a large value is good."""
    repeats: str = "runs"
    """What runs of one configuration differ in: `seeds`, `folds`, or both."""


def curve(rows: Sequence[Mapping[str, float]], metric: str) -> list[tuple[float, float]]:
    """The metric over the steps of a history, as far as it is a number."""
    return [(row[STEP], row[metric]) for row in rows if np.isfinite(row.get(metric, np.nan))]


def sweep_figure(
    outcomes: Sequence[Drawn], settings: Sequence[str], wording: Wording, best: Leader | None = None
) -> Figure:
    """A panel for each of `settings`, of what the runs have reached; one strip where there is none but several runs."""
    drawn = settings[:MOST_SETTINGS]
    ended = [each for each in outcomes if each.value is not None]
    panels = len(drawn) or int(len(outcomes) > 1)
    figure, axes = _grid(panels, curves=any(each.curve for each in outcomes))
    for place, key in enumerate(drawn):
        _against(axes[place], key, outcomes, best)
    if panels and not drawn:
        _strip(axes[0], outcomes, best, wording.repeats)
    _level(axes[:panels], [each.value for each in ended if each.value is not None], wording)
    if len(axes) > panels:
        _curves(axes[-1], outcomes, settings, best, wording)
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
    return figure, [*axes, figure.add_subplot(last)]


def _against(axes: Axes, key: str, outcomes: Sequence[Drawn], best: Leader | None) -> None:
    """The runs over the values of one setting."""
    values = [each.settings.get(key) for each in outcomes]
    kind = _kind(key, values)
    if kind == "names":
        names = _ordered(values)
        places = [float(names.index(shown(value))) for value in values]
        _name(axes, [_short(name) for name in names])
    else:
        places = [float(value) for value in values if isinstance(value, int | float)]
        if kind == "log":
            axes.set_xscale("log")
        _tick(axes, sorted(set(places)), kind)
        axes.set_xlim(*_ends(places, kind))
    dots = _runs(axes, places, outcomes, kind)
    if best is not None:
        of_setting = [
            x
            for x, each in zip(places, outcomes, strict=True)
            if shown(each.settings.get(key)) == shown(best.settings.get(key))
        ]
        _star(axes, best, dots, of_setting[0] if of_setting else None)
    axes.set_xlabel(key)


def _strip(axes: Axes, outcomes: Sequence[Drawn], best: Leader | None, repeats: str) -> None:
    """The runs of a single configuration."""
    dots = _runs(axes, [0.0] * len(outcomes), outcomes, "names")
    if best is not None:
        _star(axes, best, dots, 0.0)
    _name(axes, [f"{len(outcomes)} {repeats}"])


def _runs(axes: Axes, places: Sequence[float], outcomes: Sequence[Drawn], kind: str) -> dict[str, float]:
    """A dot a run, the median and the middle of the runs at each place, a cross for each run without a value.

    Where the dot of each run stands.
    """
    look: dict[str, Any]
    found = [(x, each) for x, each in zip(places, outcomes, strict=True) if each.value is not None]
    distinct = sorted({x for x, _ in found})
    few = len(distinct) <= _MOST_STRIPS or (len(distinct) <= 30 and len(found) >= 3 * len(distinct))
    room = _room(distinct, kind) if few else 0.0
    dots = dict(zip((each.run for _, each in found), _beside([x for x, _ in found], room, kind), strict=True))
    size = min(22.0, max(4.0, 2500.0 / max(len(found), 1)))
    looks: dict[bool, dict[str, Any]] = {False: {"color": GRAY, "linewidths": 0, "label": "a run"}, True: _HOLLOW}
    for stopped, look in looks.items():
        told = [each for _, each in found if each.halved is stopped]
        if told:
            xs, ys = [dots[each.run] for each in told], [each.value for each in told if each.value is not None]
            axes.scatter(xs, ys, s=size, alpha=0.7, zorder=2, **look)
    whole = [(x, each.value) for x, each in found if not each.halved and each.value is not None]
    there = sorted({x for x, _ in whole})
    if few and len(whole) > len(there):
        _middles(axes, there, [[y for x, y in whole if x == at] for at in there], kind)
    lost = [x for x, each in zip(places, outcomes, strict=True) if each.value is None]
    if lost:
        look = {"s": 24, "marker": "x", "color": RED, "transform": axes.get_xaxis_transform()}
        axes.scatter(_beside(lost, room, kind), [0.97] * len(lost), label="failed, diverged or nan", **look)
    return dots


def _star(axes: Axes, best: Leader, dots: Mapping[str, float], place: float | None) -> None:
    """Mark the best setting at its mean; where each setting has one run, the best run."""
    x = place if best.over else dots.get(best.run)
    if x is not None:
        look: dict[str, Any] = {"s": 130, "marker": "*", "color": ORANGE, "edgecolors": "black", "linewidths": 0.6}
        axes.scatter([x], [best.value], zorder=5, label=best.over or f"best run, {best.run}", **look)


def _middles(axes: Axes, places: Sequence[float], groups: Sequence[Sequence[float]], kind: str) -> None:
    """The median at each place, and what lies between the tenth and the ninetieth percentile."""
    low, middle, high = np.array([np.percentile(group, [10, 50, 90]) for group in groups]).T
    axes.vlines(places, low, high, color=BLUE, linewidth=1.4, zorder=3, label="10 to 90 %")
    line = "none" if kind == "names" else "-"
    look: dict[str, Any] = {"marker": "_" if kind == "names" else "o", "markersize": 16 if kind == "names" else 4}
    axes.plot(places, middle, color=BLUE, linestyle=line, linewidth=1.2, markeredgewidth=2, zorder=4, **look)
    axes.plot([], [], color=BLUE, marker="o", markersize=4, linewidth=1.2, label="median")


def _level(panels: Sequence[Axes], values: Sequence[float], wording: Wording) -> None:
    """The same scale and limits for all panels, and one legend for them."""
    for axes in panels:
        axes.set_ylabel(f"best {wording.metric}")
        _scale(axes, values)
    if not panels:
        return
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure = panels[0].get_figure()
    assert isinstance(figure, Figure)
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8
    )


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale for positive values over more than an order of magnitude."""
    if values and 0 < 20 * min(values) < max(values):
        axes.set_yscale("log")


def _curves(
    axes: Axes, outcomes: Sequence[Drawn], settings: Sequence[str], best: Leader | None, wording: Wording
) -> None:
    """Mean and band of each configuration where there are few; else each run or their percentiles; always the best."""
    drawn = [each for each in outcomes if each.curve]
    groups: dict[tuple[str, ...], list[Drawn]] = {}
    for each in drawn:
        groups.setdefault(tuple(shown(each.settings.get(key)) for key in settings), []).append(each)
    steps, said = _steps(drawn), ""
    labels = [_label(settings, names) for names in groups]
    if 1 < len(groups) < len(COLORS) and max(map(len, labels)) <= _LONGEST_LABEL:
        said = f"mean and std over {wording.repeats}" if len(groups) < len(drawn) else ""
        for label, members, color in zip(labels, groups.values(), COLORS, strict=False):
            _group(axes, members, steps, color, label)
    else:
        _all(axes, drawn, steps, wording)
    leading = next((each for each in drawn if best is not None and each.run == best.run), None)
    if leading is not None and len(drawn) > 1:
        look: dict[str, Any] = {"linewidth": 1.3, "linestyle": "--", "zorder": 5}
        axes.plot(
            *zip(*leading.curve, strict=True),
            color="black",
            label=f"{_BEST[bool(best and best.over)]}, {leading.run}",
            **look,
        )
    axes.set(xlabel="step", ylabel=wording.metric)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _scale(axes, [y for each in drawn for _, y in each.curve])
    _legend(axes, said, below=wording.rises)


def _legend(axes: Axes, title: str, *, below: bool) -> None:
    """A legend on the side to which the curves do not go, and room for it."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) > 4 else 1
    room = 0.055 * (-(-len(labels) // columns) + bool(title)) + 0.03
    logarithmic = axes.get_yscale() == "log"
    low, high = np.log(axes.get_ylim()) if logarithmic else axes.get_ylim()
    more = (high - low) * room / (1 - room)
    limits = np.array([low - more, high] if below else [low, high + more])
    axes.set_ylim(*(np.exp(limits) if logarithmic else limits))
    look: dict[str, Any] = {"fontsize": 8, "title_fontsize": 8, "frameon": False, "ncols": columns}
    axes.legend(handles, labels, title=title or None, loc="lower right" if below else "upper right", **look)


def _group(axes: Axes, members: Sequence[Drawn], steps: np.ndarray, color: str, label: str) -> None:
    """The mean over the runs of one configuration, and one standard deviation to either side."""
    if len(members) == 1:
        axes.plot(*zip(*members[0].curve, strict=True), color=color, linewidth=1.5, label=label, **_dots(members))
        return
    table = _table(members, steps)
    mean, deviation = np.nanmean(table, axis=0), np.nanstd(table, axis=0, ddof=1)
    low, high = np.fmax(mean - deviation, np.nanmin(table, axis=0)), mean + deviation
    axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(steps, mean, color=color, linewidth=1.6, label=label)


def _all(axes: Axes, drawn: Sequence[Drawn], steps: np.ndarray, wording: Wording) -> None:
    """Many configurations, or a single one: every run where they can be told apart, and their median."""
    if len(drawn) == 1:
        label = f"run {drawn[0].run}"
        axes.plot(*zip(*drawn[0].curve, strict=True), color=BLUE, linewidth=1.6, label=label, **_dots(drawn))
        return
    table = _table(drawn, steps)
    going_on = " of those still training" if np.isnan(table).any() else ""
    if len(drawn) <= MOST_LINES:
        for each in drawn:
            axes.plot(*zip(*each.curve, strict=True), color=GRAY, linewidth=0.7, alpha=0.6)
        axes.plot([], [], color=GRAY, linewidth=0.7, label=f"each of {len(drawn)} runs")
    else:
        of = f"{MOST_CURVES} runs, best to worst" if len(drawn) >= MOST_CURVES else f"{len(drawn)} runs"
        for (low, high), alpha in (((10, 90), 0.35), ((25, 75), 0.5)):
            band = np.nanpercentile(table, [low, high], axis=0)
            axes.fill_between(steps, *band, color=GRAY, alpha=alpha, linewidth=0, label=f"{low} to {high} % of {of}")
    axes.plot(steps, np.nanmedian(table, axis=0), color=BLUE, linewidth=1.6, label=f"median{going_on}")


def _dots(members: Sequence[Drawn]) -> dict[str, Any]:
    """Marks where there are so few points that a line alone might not be seen."""
    return {"marker": "o", "markersize": 4} if max(len(each.curve) for each in members) < 8 else {}


def _steps(drawn: Sequence[Drawn]) -> np.ndarray:
    """Steps at which to compare the runs: their own where these are few."""
    own = np.unique([x for each in drawn for x, _ in each.curve])
    return own if len(own) <= _N_STEPS else np.linspace(own[0], own[-1], _N_STEPS)


def _table(members: Sequence[Drawn], steps: np.ndarray) -> np.ndarray:
    """The metric of each run at each step, nan where it was not training; steps that no run has seen hold the last."""
    rows = []
    for each in members:
        xs, ys = np.array(each.curve).T
        row = np.interp(steps, xs, ys)
        row[(steps < xs[0]) | (steps > xs[-1])] = np.nan
        rows.append(row)
    table = np.array(rows)
    seen = ~np.isnan(table).all(axis=0)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(steps)), seen.argmax()))
    return table[:, last]


def _kind(key: str, values: Sequence[Any]) -> Literal["log", "linear", "names"]:
    """Numbers over several orders of magnitude on a logarithmic axis; what is no number in strips side by side."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return "names"
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) >= (2 if _last(key) in RATES else 20) * min(positive)
    if wide and len(positive) == len(values):
        return "log"
    # Zero has no place on a logarithmic axis, and beside it on a linear one the small values have none.
    return "names" if wide and len(set(values)) <= _MOST_STRIPS else "linear"


def _ordered(values: Sequence[Any]) -> list[str]:
    """The distinct values as text: numbers by size, others as they come."""
    distinct = {shown(value): value for value in values}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct.values()):
        return sorted(distinct, key=lambda name: distinct[name])
    return list(distinct)


def _name(axes: Axes, names: Sequence[str]) -> None:
    crowded = sum(map(len, names)) > 36
    axes.set_xticks(range(len(names)), names, rotation=25 if crowded else 0, ha="right" if crowded else "center")
    axes.tick_params(axis="x", labelsize=8 if len(names) <= _MOST_STRIPS else 6)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _tick(axes: Axes, values: Sequence[float], kind: str) -> None:
    """Tick at the values themselves where they are few."""
    at = np.log(values) if kind == "log" else np.array(values)
    if len(values) <= _MOST_TICKS and np.diff(at).min(initial=np.inf) > 0.12 * np.ptp(at):
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
    elif kind == "log":
        axes.xaxis.set_minor_formatter(NullFormatter())


def _ends(places: Sequence[float], kind: str) -> tuple[float, float]:
    """Limits with a margin, from all runs: also from those that have nothing but their place."""
    low, high = (np.log(min(places)), np.log(max(places))) if kind == "log" else (min(places), max(places))
    margin = 0.08 * (high - low) or 1.0
    return (np.exp(low - margin), np.exp(high + margin)) if kind == "log" else (low - margin, high + margin)


def _room(places: Sequence[float], kind: str) -> float:
    """How far from its place a dot may stand, so that dots do not cover each other."""
    if kind == "names":
        return 0.6
    at = np.log(places) if kind == "log" else np.array(places)
    return float(min(0.25 * np.diff(at).min(), 0.12 * np.ptp(at))) if len(places) > 1 else 0.0


def _beside(places: Sequence[float], room: float, kind: str) -> list[float]:
    """Where to put the dots of each place: the first in its middle, the others beside it, neighbors far apart."""
    counts: Counter[float] = Counter()
    found = []
    for x in places:
        offset = ((0.5 + counts[x] * 0.6180339887) % 1 - 0.5) * room
        counts[x] += 1
        found.append(float(x * np.exp(offset)) if kind == "log" else x + offset)
    return found


def _label(settings: Sequence[str], names: Sequence[str]) -> str:
    return ", ".join(f"{_last(key)}={_short(name)}" for key, name in zip(settings, names, strict=True))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _short(name: str, limit: int = 24) -> str:
    """A value as a label: few digits, and no more than fits."""
    if not name.lstrip("-").isdecimal():
        with suppress(ValueError):
            name = f"{float(name):.4g}"
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
