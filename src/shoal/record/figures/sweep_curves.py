"""The learning curves of a sweep's runs: one by one, by setting, or as percentiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from shoal.errors import shown
from shoal.names import STEP
from shoal.record.figures.colors import BLUE, COLORS, GRAY
from shoal.record.figures.sweep_axes import LONGEST_LABEL, is_wide, label_of, set_scale
from shoal.record.figures.sweep_contents import Drawn, Leader, Wording

MOST_LINES = 40
"""Curves drawn one by one at most; of more runs their percentiles are drawn."""
MOST_CURVES = 512
"""Runs whose curves are worth reading for percentiles: as many more change nothing that can be seen."""
BEST_RUN = {False: "best run", True: "its best run"}
"""What the run is called whose curve stands for the best setting, also where a mean over several runs has the star."""
_N_STEPS = 200
"""Steps at which curves of unequal steps are compared."""
_MANY_LEFT = 0.9
"""Share of the runs below which so few are left that a line over them is another line."""


def curve(rows: Sequence[Mapping[str, float]], metric: str) -> list[tuple[float, float]]:
    """The metric over the steps of a history, as far as it is a number."""
    return [(row[STEP], row[metric]) for row in rows if np.isfinite(row.get(metric, np.nan))]


def draw_curves(
    axes: Axes, outcomes: Sequence[Drawn], settings: Sequence[str], best: Leader | None, wording: Wording
) -> None:
    """Middle and band of each configuration where there are few; else each run or percentiles; always the best.

    A mean has no place on a logarithmic axis, where one bad run makes another curve of it: there it is the median.
    """
    drawn = [each for each in outcomes if each.curve]
    groups: dict[tuple[str, ...], list[Drawn]] = {}
    for each in drawn:
        groups.setdefault(tuple(shown(each.settings.get(key)) for key in settings), []).append(each)
    steps, said = _steps(drawn), ""
    labels = [label_of(settings, names) for names in groups]
    if 1 < len(groups) < len(COLORS) and max(map(len, labels)) <= LONGEST_LABEL:
        band = _quartiles if is_wide([y for each in drawn for _, y in each.curve]) else _deviation
        said = f"{_BANDS[band]} over {wording.repeats}" if len(groups) < len(drawn) else ""
        for label, members, color in zip(labels, groups.values(), COLORS, strict=False):
            _group(axes, members, steps, color, label, band)
    else:
        _all(axes, drawn, steps, wording)
    leading = next((each for each in drawn if best is not None and each.run == best.run), None)
    if leading is not None and len(drawn) > 1:
        look: dict[str, Any] = {"linewidth": 1.3, "linestyle": "--", "zorder": 5}
        axes.plot(
            *zip(*leading.curve, strict=True),
            color="black",
            label=f"{BEST_RUN[bool(best and best.over)]}, {leading.run}",
            **look,
        )
    axes.set(xlabel="step", ylabel=wording.metric)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    set_scale(axes, [y for each in drawn for _, y in each.curve])
    _legend(axes, said, below=wording.rises)


def _legend(axes: Axes, title: str, *, below: bool) -> None:
    """A legend on the side to which the curves do not go, and room for it."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) > 4 else 1
    # A line of the legend takes about this share of the panel's height.
    room = 0.055 * (-(-len(labels) // columns) + bool(title)) + 0.03
    logarithmic = axes.get_yscale() == "log"
    low, high = np.log(axes.get_ylim()) if logarithmic else axes.get_ylim()
    # So that the room is this share of the axis as it is afterwards.
    more = (high - low) * room / (1 - room)
    limits = np.array([low - more, high] if below else [low, high + more])
    axes.set_ylim(*(np.exp(limits) if logarithmic else limits))
    look: dict[str, Any] = {"fontsize": 8, "title_fontsize": 8, "frameon": False, "ncols": columns}
    axes.legend(handles, labels, title=title or None, loc="lower right" if below else "upper right", **look)


Band = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Of a row a run: the lower end, the middle, the upper end."""


def _quartiles(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, middle, high = np.percentile(table, [25, 50, 75], axis=0)
    return low, middle, high


def _deviation(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, and one standard deviation to either side, but not below the smallest value."""
    mean, deviation = table.mean(axis=0), table.std(axis=0, ddof=1)
    # Near 0 the band of a loss would be of values that it cannot have.
    return np.fmax(mean - deviation, table.min(axis=0, initial=np.inf)), mean, mean + deviation


_BANDS: Mapping[Band, str] = {_quartiles: "median and quartiles", _deviation: "mean and std"}


def _group(axes: Axes, members: Sequence[Drawn], steps: np.ndarray, color: str, label: str, band: Band) -> None:
    """The middle of the runs of one configuration and a band around it, while all of them train.

    Where some go on, as halving lets them, a thin line for each of those.
    """
    if len(members) == 1:
        axes.plot(*zip(*members[0].curve, strict=True), color=color, linewidth=1.5, label=label, **_dots(members))
        return
    # (runs, steps)
    table = _table(members, steps)
    whole = ~np.isnan(table).any(axis=0)
    shared = steps[whole]
    low, middle, high = band(table[:, whole])
    axes.fill_between(shared, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(shared, middle, color=color, linewidth=1.6, label=label, marker="o" if len(shared) == 1 else None)
    end = shared[-1] if len(shared) else -np.inf
    for each in members:
        further = [(x, y) for x, y in each.curve if x >= end]
        if len(further) > 1:
            axes.plot(*zip(*further, strict=True), color=color, linewidth=0.8, alpha=0.7)


def _all(axes: Axes, drawn: Sequence[Drawn], steps: np.ndarray, wording: Wording) -> None:
    """Many configurations, or a single one: every run where they can be told apart, and their median.

    The median and the percentiles are of the runs that train at each step; they break off where many stop at once.
    """
    if len(drawn) == 1:
        label = f"run {drawn[0].run}"
        axes.plot(*zip(*drawn[0].curve, strict=True), color=BLUE, linewidth=1.6, label=label, **_dots(drawn))
        return
    table = _table(drawn, steps)
    seen = ~np.isnan(table).all(axis=0)
    steps, table = steps[seen], table[:, seen]
    going_on = " of those still training" if np.isnan(table).any() else ""
    if len(drawn) <= MOST_LINES:
        for each in drawn:
            axes.plot(*zip(*each.curve, strict=True), color=GRAY, linewidth=0.7, alpha=0.6)
        # One entry in the legend for all of them.
        axes.plot([], [], color=GRAY, linewidth=0.7, label=f"each of {len(drawn)} runs")
    else:
        of = f"{MOST_CURVES} runs, best to worst" if len(drawn) >= MOST_CURVES else f"{len(drawn)} runs"
        for (low, high), alpha in (((10, 90), 0.35), ((25, 75), 0.5)):
            xs, below, above = _broken(steps, table, np.nanpercentile(table, [low, high], axis=0))
            label = f"{low} to {high} % of {of}{going_on}"
            axes.fill_between(xs, below, above, color=GRAY, alpha=alpha, linewidth=0, label=label)
    xs, middle = _broken(steps, table, np.nanmedian(table, axis=0)[None])
    axes.plot(xs, middle, color=BLUE, linewidth=1.6, label=f"median{going_on}")


def _broken(steps: np.ndarray, table: np.ndarray, lines: np.ndarray) -> list[np.ndarray]:
    """The steps and lines over them, with a gap after each step after which a tenth of the runs or more stop."""
    left = (~np.isnan(table)).sum(axis=0)
    # A nan between two points has matplotlib lift the pen.
    gaps = np.flatnonzero(left[1:] <= _MANY_LEFT * left[:-1]) + 1
    return [np.insert(each.astype(float), gaps, np.nan) for each in (steps, *lines)]


def _dots(members: Sequence[Drawn]) -> dict[str, Any]:
    """Marks where there are so few points that a line alone might not be seen."""
    return {"marker": "o", "markersize": 4} if max(len(each.curve) for each in members) < 8 else {}


def _steps(drawn: Sequence[Drawn]) -> np.ndarray:
    """Steps at which to compare the runs: their own where these are few."""
    own = np.unique([x for each in drawn for x, _ in each.curve])
    return own if len(own) <= _N_STEPS else np.linspace(own[0], own[-1], _N_STEPS)


def _table(members: Sequence[Drawn], steps: np.ndarray) -> np.ndarray:
    """The metric of each run at each step, nan where it was not training."""
    rows = []
    for each in members:
        xs, ys = np.array(each.curve).T
        row = np.interp(steps, xs, ys)
        # np.interp goes on with the first and the last value where there is none.
        row[(steps < xs[0]) | (steps > xs[-1])] = np.nan
        rows.append(row)
    return np.array(rows)
