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
    """Data, curve and bands of a formula of one column.

    Of several targets, or of groups, each has a color; of groups the first few are drawn, and their first target.
    """
    [place] = network.places.values()
    x, y = data.train.x[:_MOST].double(), data.train.y[:_MOST].reshape(len(data.train.x[:_MOST]), -1).double()
    weight = _beside(None if data.train.weight is None else data.train.weight[:_MOST].double(), y)
    at = torch.linspace(float(x[:, place].min()), float(x[:, place].max()), _POINTS, dtype=torch.float64)
    if not network.groups:
        curves = _curves(network, loss, fit, at[:, None])
        names = {kind: f"{100 * fit['level']:g} % {kind}" for kind in _SHADES}
        one = len(data.targets) == 1
        for i, (target, color) in enumerate(zip(data.targets, COLORS, strict=False)):
            _data(axes, x[:, place], y[:, i], weight[:, i], GRAY if one else color, "data" if one else None)
            bands = names if one else {"confidence": None}
            _curve(
                axes, at, {kind: each[:, i] for kind, each in curves.items()}, color, "fit" if one else target, bands
            )
    for name, mark, color in zip(network.groups, network.marks, COLORS, strict=False):
        own = x[:, mark] > 0
        _data(axes, x[own, place], y[own, 0], weight[own, 0], color, None)
        points = torch.zeros(_POINTS, x.shape[1], dtype=torch.float64)
        # A group's mark is a column that is 1 in its own rows and 0 in all others.
        points[:, place], points[:, mark] = at, 1
        of_group = {kind: each[:, 0] for kind, each in _curves(network, loss, fit, points).items()}
        _curve(axes, at, of_group, color, name, {"confidence": None})
    left = len(network.groups) - len(COLORS)
    more = f", the first {len(COLORS)} of {len(network.groups)} groups" if left > 0 else ""
    axes.set(title=f"Fit{more}")
    axes.legend(frameon=False, fontsize=8, title=network.formula.by)


def _beside(weight: Tensor | None, y: Tensor) -> Tensor:
    """A weight for each target; not a number where there are none."""
    if weight is None:
        return torch.full_like(y, torch.nan)
    return weight.view(len(y), -1).expand(y.shape)


def _data(axes: Axes, x: Tensor, y: Tensor, weight: Tensor, color: str, label: str | None) -> None:
    """Samples; an error bar is as long as the standard error that its weight stands for, and 0 is for no sample."""
    known = torch.where(weight == 0, torch.nan, y)
    # A weight is 1 / error**2, so its reciprocal root is the error.
    errors = None if weight.isnan().all() else torch.where(weight > 0, weight, torch.nan).rsqrt()
    axes.errorbar(x, known, yerr=errors, fmt="o", markersize=3, color=color, elinewidth=0.8, label=label)


def _curves(network: FormulaNetwork, loss: LossFunction, fit: Mapping[str, Any], points: Tensor) -> dict[str, Tensor]:
    """The formula at `points`, and half the widths of its bands where there are any: a column for each target."""
    with torch.no_grad():
        curve = network(points.to(next(network.parameters()).dtype)).double()
    try:
        return {"curve": curve, **half_widths(network, loss, fit, points, fit["level"])._asdict()}
    # Where the data do not determine a parameter there is a curve, and no band around it.
    except UsageError:
        return {"curve": curve}


def _curve(
    axes: Axes, at: Tensor, found: Mapping[str, Tensor], color: str, label: str, bands: Mapping[str, str | None]
) -> None:
    """A curve over `at`, with the bands that are named."""
    curve = found["curve"]
    for kind, name in bands.items():
        if kind in found:
            ends = (curve - found[kind], curve + found[kind])
            axes.fill_between(at, *ends, color=color, alpha=_SHADES[kind], linewidth=0, label=name)
    axes.plot(at, curve, color=color, linewidth=1.6, label=label)
