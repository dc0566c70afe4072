"""The panel of a formula: the data with their errors, its curve, and how far both may be off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from shoal.errors import UsageError
from shoal.fits import bands as half_widths
from shoal.fits import possible
from shoal.losses import LossFunction
from shoal.models import FormulaNetwork
from shoal.models.fitted_functions import OwnCode
from shoal.pictures import Band, ErrorBars, Line, Mark, Panel
from shoal.record.figures.colors import COLORS, GRAY
from shoal.tasks import Data

_POINTS, _POINTS_OF_CODE = 300, 100
"""Where a curve is computed. Code takes its time: the slopes of one that integrates take the square of it."""
_MOST = 2000
"""Samples drawn at most."""
_SHADES = {"prediction": 0.15, "confidence": 0.35}
_SHADE_OF_SEVERAL = 0.15
"""Of bands that lie over each other."""


def formula_panel(
    network: FormulaNetwork, loss: LossFunction, data: Data, fit: Mapping[str, Any], label: Callable[[str], str]
) -> Panel:
    """Data, curve and bands of a formula of one column; `label` says what an axis of a column is called.

    Of several targets, or of groups, each has a color; of groups the first few are drawn, and their first target.
    """
    [(column, place)] = network.places.items()
    x, y = data.train.x[:_MOST].double(), data.train.y[:_MOST].reshape(len(data.train.x[:_MOST]), -1).double()
    weight = _beside(None if data.train.weight is None else data.train.weight[:_MOST].double(), y)
    n_points = _POINTS_OF_CODE if isinstance(network.curves, OwnCode) else _POINTS
    at = torch.linspace(float(x[:, place].min()), float(x[:, place].max()), n_points, dtype=torch.float64)
    marks: list[Mark] = []
    if not network.groups:
        curves = _curves(network, loss, fit, at[:, None])
        names = {kind: f"{100 * fit['level']:g} % {kind}" for kind in _SHADES}
        one = len(data.targets) == 1
        for i, (target, color) in enumerate(zip(data.targets, COLORS, strict=False)):
            marks.append(_data(x[:, place], y[:, i], weight[:, i], GRAY if one else color, "data" if one else None))
            bands = names if one else {"confidence": None}
            of_target = {kind: each[:, i] for kind, each in curves.items()}
            marks += _curve(at, of_target, color, "fit" if one else target, bands, loss)
    for name, mark, color in zip(network.groups, network.marks, COLORS, strict=False):
        own = x[:, mark] > 0
        marks.append(_data(x[own, place], y[own, 0], weight[own, 0], color, None))
        # A group's mark is a column that is 1 in its own rows and 0 in all others.
        points = torch.zeros(n_points, x.shape[1], dtype=torch.float64)
        points[:, place], points[:, mark] = at, 1
        of_group = {kind: each[:, 0] for kind, each in _curves(network, loss, fit, points).items()}
        marks += _curve(at, of_group, color, name, {"confidence": None}, loss)
    left = len(network.groups) - len(COLORS)
    more = f", the first {len(COLORS)} of {len(network.groups)} groups" if left > 0 else ""
    # Bands behind everything: those of one group would cover the data of another.
    marks.sort(key=lambda mark: not isinstance(mark, Band))
    named = data.targets[:1] if network.groups else data.targets
    height = ", ".join(map(label, named))
    return Panel(
        marks=marks, title=f"Fit{more}", x=label(column), y=height, legend=True, legend_title=network.formula.by
    )


def _beside(weight: Tensor | None, y: Tensor) -> Tensor:
    """A weight for each target; not a number where there are none."""
    if weight is None:
        return torch.full_like(y, torch.nan)
    return weight.view(len(y), -1).expand(y.shape)


def _data(x: Tensor, y: Tensor, weight: Tensor, color: str, label: str | None) -> Mark:
    """Samples; an error bar is as long as the standard error that its weight stands for, and 0 is for no sample."""
    known = torch.where(weight == 0, torch.nan, y).numpy()
    # A weight is 1 / error**2, so its reciprocal root is the error.
    errors = None if weight.isnan().all() else torch.where(weight > 0, weight, torch.nan).rsqrt().numpy()
    return ErrorBars(x=x.numpy(), y=known, errors=errors, color=color, label=label)


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
    at: Tensor, found: Mapping[str, Tensor], color: str, label: str, bands: Mapping[str, str | None], loss: LossFunction
) -> list[Mark]:
    """A curve over `at`, with the bands that are named."""
    x, curve = at.numpy(), found["curve"]
    around: list[Mark] = [
        Band(
            x=x,
            low=possible(loss, found["curve"] - found[kind]).numpy(),
            high=possible(loss, found["curve"] + found[kind]).numpy(),
            color=color,
            opacity=_SHADES[kind] if len(bands) > 1 else _SHADE_OF_SEVERAL,
            label=name,
        )
        for kind, name in bands.items()
        if kind in found
    ]
    return [*around, Line(x=x, y=curve.numpy(), color=color, width=1.6, label=label)]
