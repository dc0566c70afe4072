"""Axes of swept settings: their scales, their ticks, and names that fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from shoal.errors import shown
from shoal.pictures.decades import logarithmic

RATES = frozenset({"lr", "weight_decay", "eps", "momentum_decay", "gradient_clip_val"})
"""Settings of which orders of magnitude matter, by the last part of their names."""
_MOST_TICKS = 6
MOST_STRIPS = 12
LONGEST_LABEL = 40


def is_wide(values: Sequence[float]) -> bool:
    """Whether these are positive values over more than an order of magnitude, which a logarithmic axis shows."""
    return bool(values) and 0 < 20 * min(values) < max(values)


def set_scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale for values that are wide."""
    if is_wide(values):
        logarithmic(axes)


def kind_of_axis(key: str, values: Sequence[Any]) -> Literal["log", "linear", "names"]:
    """Numbers over several orders of magnitude on a logarithmic axis; what is no number in strips side by side."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return "names"
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) >= (2 if _last(key) in RATES else 20) * min(positive)
    if wide and len(positive) == len(values):
        return "log"
    # Zero has no place on a logarithmic axis, and beside it on a linear one the small values have none.
    return "names" if wide and len(set(values)) <= MOST_STRIPS else "linear"


def ordered(values: Sequence[Any]) -> list[str]:
    """The distinct values as text: numbers by size, others as they come."""
    distinct = {shown(value): value for value in values}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct.values()):
        return sorted(distinct, key=lambda name: distinct[name])
    return list(distinct)


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Put a tick with its name at 0, 1, 2 and so on; many or long names stand aslant."""
    crowded = sum(map(len, names)) > 36
    axes.set_xticks(range(len(names)), names, rotation=25 if crowded else 0, ha="right" if crowded else "center")
    axes.tick_params(axis="x", labelsize=8 if len(names) <= MOST_STRIPS else 6)
    axes.set_xlim(-0.6, len(names) - 0.4)


def set_ticks(axes: Axes, values: Sequence[float], kind: str) -> None:
    """Tick at the values themselves where they are few."""
    at = np.log(values) if kind == "log" else np.array(values)
    # Labels nearer to each other than an eighth of the axis would overlap.
    if len(values) <= _MOST_TICKS and np.diff(at).min(initial=np.inf) > 0.12 * np.ptp(at):
        axes.set_xticks(values, [f"{value:g}" for value in values])
        # Else a logarithmic axis may label places between these as well.
        axes.xaxis.set_minor_locator(NullLocator())
    elif kind == "log":
        axes.xaxis.set_minor_formatter(NullFormatter())


def ends(places: Sequence[float], kind: str) -> tuple[float, float]:
    """Limits with a margin, from all runs: also from those that have nothing but their place."""
    low, high = (np.log(min(places)), np.log(max(places))) if kind == "log" else (min(places), max(places))
    # A single place has no width to take a share of.
    margin = 0.08 * (high - low) or 1.0
    return (np.exp(low - margin), np.exp(high + margin)) if kind == "log" else (low - margin, high + margin)


def room_between(places: Sequence[float], kind: str) -> float:
    """How far from its place a dot may stand, so that dots do not cover each other."""
    if kind == "names":
        return 0.6
    at = np.log(places) if kind == "log" else np.array(places)
    return float(min(0.25 * np.diff(at).min(), 0.12 * np.ptp(at))) if len(places) > 1 else 0.0


def beside(places: Sequence[float], room: float, kind: str) -> list[float]:
    """Where to put the dots of each place: the first in its middle, the others beside it, neighbors far apart."""
    counts: Counter[float] = Counter()
    found = []
    for x in places:
        # Multiples of the golden section: however many dots there are, each falls into the widest gap.
        offset = ((0.5 + counts[x] * 0.6180339887) % 1 - 0.5) * room
        counts[x] += 1
        found.append(float(x * np.exp(offset)) if kind == "log" else x + offset)
    return found


def label_of(settings: Sequence[str], names: Sequence[str]) -> str:
    """What a curve of runs with these values of the settings is called."""
    return ", ".join(f"{_last(key)}={shortened(name)}" for key, name in zip(settings, names, strict=True))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def shortened(name: str, limit: int = 24) -> str:
    """A value as a label: few digits, and no more than fits."""
    # Whole numbers stay as they are: as %.4g a seed of five digits would be another one.
    if not name.lstrip("-").isdecimal():
        with suppress(ValueError):
            name = f"{float(name):.4g}"
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
