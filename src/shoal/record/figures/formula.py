"""The panel of a formula: the data with their errors, its curve, and how far both may be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.axes import Axes

from shoal.errors import UsageError
from shoal.fits import bands
from shoal.models import FormulaNetwork
from shoal.tasks import Data

_COLOR, _DATA = "#0072B2", "#999999"
_POINTS = 300
_MOST = 2000
"""Samples drawn at most."""


def draw_formula(axes: Axes, network: FormulaNetwork, data: Data, fit: Mapping[str, Any]) -> None:
    """Data, curve and bands of a formula of one column."""
    samples = data.train
    x, y = samples.x[:_MOST, 0].double(), samples.y[:_MOST].reshape(-1).double()
    errors = None if samples.weight is None else samples.weight[:_MOST].double().rsqrt()
    axes.errorbar(x, y, yerr=errors, fmt="o", markersize=3, color=_DATA, elinewidth=0.8, label="data")
    place = torch.linspace(float(x.min()), float(x.max()), _POINTS, dtype=torch.float64)[:, None]
    with torch.no_grad():
        curve = network(place.to(next(network.parameters()).dtype))[:, 0].double()
    try:
        found = bands(network, fit, place, fit["level"])
    except UsageError:
        found = None
    if found is not None:
        level = f"{100 * fit['level']:g} %"
        names = (("prediction", found.prediction, 0.15), ("confidence", found.confidence, 0.35))
        for name, half, alpha in names:
            axes.fill_between(
                place[:, 0], curve - half, curve + half, color=_COLOR, alpha=alpha, linewidth=0, label=f"{level} {name}"
            )
    axes.plot(place[:, 0], curve, color=_COLOR, linewidth=1.6, label="fit")
    axes.set(xlabel=data.features[0], ylabel=data.targets[0], title="Fit")
    axes.legend(frameon=False, fontsize=8)
