"""The setting by which the runs of a sweep are told apart in color and shape: the one that matters most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shoal.errors import shown
from shoal.record.figures.colors import COLORS
from shoal.record.figures.sweep_axes import kind_of_axis, label_of, ordered
from shoal.record.figures.sweep_contents import Drawn

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Shapes beside the colors, for who prints without color."""


@dataclass(frozen=True)
class Hue:
    """A setting whose values are names, each with a color and a shape."""

    key: str
    looks: Mapping[str, tuple[str, str]]

    def name(self, each: Drawn) -> str:
        """The value that a run has."""
        return shown(each.settings.get(self.key))

    def label(self, name: str) -> str:
        """What the legend calls a value."""
        return label_of([self.key], [name])


def strongest(outcomes: Sequence[Drawn], settings: Sequence[str]) -> Hue | None:
    """The setting of names that explains most of the variance of what was reached; None unless there are others too."""
    # A setting that varies alone has an axis of its own, which tells its values apart already.
    if len(varying(outcomes, settings)) < 2:
        return None
    known = [each for each in outcomes if each.value is not None and not each.halved]
    shares: dict[str, float] = {}
    for key in settings:
        names = ordered([each.settings.get(key) for each in outcomes])
        of_names = kind_of_axis(key, [each.settings.get(key) for each in outcomes]) == "names"
        if of_names and 1 < len(names) <= len(MARKERS) and known:
            shares[key] = _explained(key, known)
    if not shares:
        return None
    chosen = max(shares, key=lambda each: shares[each])
    names = ordered([each.settings.get(chosen) for each in outcomes])
    return Hue(chosen, dict(zip(names, zip(COLORS, MARKERS, strict=False), strict=False)))


def varying(outcomes: Sequence[Drawn], settings: Sequence[str]) -> list[str]:
    """The settings that have more than one value."""
    return [key for key in settings if len({shown(each.settings.get(key)) for each in outcomes}) > 1]


def _explained(key: str, known: Sequence[Drawn]) -> float:
    """The share of the variance that lies between the values of a setting, of logarithms where there are any."""
    values = np.array([each.value for each in known], dtype=float)
    values = np.log(values) if values.min() > 0 else values
    names = np.array([shown(each.settings.get(key)) for each in known])
    means = {name: values[names == name].mean() for name in set(names)}
    # Eta squared: the sum of squares between the groups, by that of all.
    between = sum((means[name] - values.mean()) ** 2 for name in names)
    # Not by zero: where all runs have come to the same, no setting explains anything.
    return float(between / max(((values - values.mean()) ** 2).sum(), 1e-300))
