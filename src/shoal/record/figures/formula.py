"""The panel of a formula: the data with their errors, its curve, and how far both may be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from shoal.errors import UsageError
from shoal.fits import bands as half_widths
from shoal.losses import LossFunction
from shoal.models import FormulaNetwork
from shoal.record.figures.colors import COLORS, GRAY
from shoal.tasks import Data

_POINTS = 300
_MOST = 2000
"""Samples drawn at most."""
_SHADES = {"prediction": 0.15, "confidence": 0.35}


def draw_formula(axes: Axes, network: FormulaNetwork, loss: LossFunction, data: Data, fit: Mapping[str, Any]) -> None:
    """Data, curve and bands of a formula of one column; of groups, each has a color, and the first few are drawn."""
    [place] = network.places.values()
    x, y = data.train.x[:_MOST].double(), data.train.y[:_MOST].reshape(-1).double()
    weight = None if data.train.weight is None else data.train.weight[:_MOST].double()
    at = torch.linspace(float(x[:, place].min()), float(x[:, place].max()), _POINTS, dtype=torch.float64)
    if not network.groups:
        _data(axes, x[:, place], y, weight, GRAY, "data")
        names = {kind: f"{100 * fit['level']:g} % {kind}" for kind in _SHADES}
        _curve(axes, network, loss, fit, at[:, None], at, color=COLORS[0], label="fit", bands=names)
    for name, mark, color in zip(network.groups, network.marks, COLORS, strict=False):
        own = x[:, mark] > 0
        _data(axes, x[own, place], y[own], None if weight is None else weight[own], color, None)
        points = torch.zeros(_POINTS, x.shape[1], dtype=torch.float64)
        points[:, place], points[:, mark] = at, 1
        _curve(axes, network, loss, fit, points, at, color=color, label=name, bands={"confidence": None})
    left = len(network.groups) - len(COLORS)
    more = f", the first {len(COLORS)} of {len(network.groups)} groups" if left > 0 else ""
    axes.set(title=f"Fit{more}")
    axes.legend(frameon=False, fontsize=8, title=network.formula.by)


def _data(axes: Axes, x: Tensor, y: Tensor, weight: Tensor | None, color: str, label: str | None) -> None:
    """Samples; an error bar is as long as the standard error that its weight stands for."""
    errors = None if weight is None else torch.where(weight > 0, weight, torch.nan).rsqrt()
    axes.errorbar(x, y, yerr=errors, fmt="o", markersize=3, color=color, elinewidth=0.8, label=label)


def _curve(
    axes: Axes,
    network: FormulaNetwork,
    loss: LossFunction,
    fit: Mapping[str, Any],
    points: Tensor,
    at: Tensor,
    *,
    color: str,
    label: str,
    bands: Mapping[str, str | None],
) -> None:
    """The formula at `points`, drawn over `at`, with the bands that are named."""
    with torch.no_grad():
        curve = network(points.to(next(network.parameters()).dtype))[:, 0].double()
    try:
        found = half_widths(network, loss, fit, points, fit["level"])._asdict()
    except UsageError:
        found = {}
    for kind, name in bands.items():
        if kind in found:
            ends = (curve - found[kind], curve + found[kind])
            axes.fill_between(at, *ends, color=color, alpha=_SHADES[kind], linewidth=0, label=name)
    axes.plot(at, curve, color=color, linewidth=1.6, label=label)
