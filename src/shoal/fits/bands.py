"""How far the curve of a fit, and new values around it, may be off: by the first derivatives (the delta method)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import UsageError
from shoal.losses import Likelihood, LossFunction
from shoal.models import FormulaNetwork
from shoal.tails import t_quantile
from shoal.tasks.residuals import problem_of


class Bands(NamedTuple):
    """Half the width of the intervals around each prediction."""

    confidence: Float[Tensor, " samples"]
    """Of the curve itself."""
    prediction: Float[Tensor, " samples"]
    """Of one more value at that place, that scatters as those of the fit with the mean weight do."""


def bands(
    network: FormulaNetwork,
    loss: LossFunction,
    fit: Mapping[str, Any],
    x: Float[Tensor, "samples inputs"],
    level: float,
) -> Bands:
    """The bands at `x`, from what run.json says of the fit; nothing is a number in a group that tells of no errors.

    Raises:
        UsageError: where the data do not determine a parameter, or leave nothing to tell errors by.
    """
    loose = any(value is None for row in fit["covariance"] for value in row) and not network.groups
    if fit["freedom"] < 1 or loose:
        raise UsageError("this fit has no intervals: the data do not determine all of its parameters")
    values = {name: value.detach().double() for name, value in network.values().items()}
    trained = {name: values[name] for name in network.trained}
    batch = (x.double()[None].repeat(2, 1, 1), torch.zeros(2, len(x), 1, dtype=torch.float64))
    fixed = {name: each.double()[None].repeat(2, *[1] * each.dim()) for name, each in network.named_buffers()}
    problem = problem_of(network, None, batch, trained, fixed, together=True)
    params = torch.cat([value.reshape(-1) for value in trained.values()]).repeat(2, 1)
    slopes = problem.slopes(params)[:, 0, : len(x)]
    rows = [[math.nan if value is None else value for value in row] for row in fit["covariance"]]
    # Not by a product of matrices: what one group does not tell is no matter of another.
    variance = slopes.new_zeros(len(x))
    for i, j, value in ((i, j, value) for i, row in enumerate(rows) for j, value in enumerate(row) if value):
        both = slopes[i] * slopes[j]
        variance += torch.where(both != 0, both * value, 0.0)
    known = _of_places(network, fit, x)
    quantiles = {n: t_quantile(level, n) for n in {each["freedom"] for each in known}}
    t = x.new_tensor([quantiles[each["freedom"]] for each in known], dtype=torch.float64)
    if isinstance(loss, Likelihood):
        middle = problem.predictions(params)[0, : len(x)]
        scatter = loss.squares(middle, middle).slope.square().reciprocal()
    else:
        scatter = x.new_tensor([_scatter(fit, each) for each in known], dtype=torch.float64)
    variance = variance.clamp_min(0)
    return Bands(t * variance.sqrt(), t * (variance + scatter).sqrt())


def _of_places(network: FormulaNetwork, fit: Mapping[str, Any], x: Tensor) -> list[Mapping[str, Any]]:
    """What tells the errors at each place: the fit, or that of its group."""
    if not network.groups:
        return [fit] * len(x)
    fits = {group["name"]: group for group in fit["groups"] if group["freedom"]}
    groups = [fits.get(name, fit) for name in network.groups]
    return [groups[place] for place in (x[:, network.marks] > 0).to(torch.int64).argmax(1).tolist()]


def _scatter(fit: Mapping[str, Any], known: Mapping[str, Any]) -> float:
    """The variance of values around the curve."""
    size = 1.0 if fit["absolute"] else known["reduced"]
    return math.nan if size is None else size / known["weight"]
