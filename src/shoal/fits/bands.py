"""How far the curve of a fit, and new values around it, may be off: by the first derivatives (the delta method)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import UsageError
from shoal.fits.fit import UNDETERMINED, reach
from shoal.losses import Likelihood, LossFunction
from shoal.models import FormulaNetwork
from shoal.tasks.residuals import problem_of


class Bands(NamedTuple):
    """Half the width of the intervals around each prediction."""

    confidence: Float[Tensor, "samples outputs"]
    """Of the curve itself."""
    prediction: Float[Tensor, "samples outputs"]
    """Of one more value at that place, that scatters as those of the fit with the mean weight do."""


def bands(
    network: FormulaNetwork,
    loss: LossFunction,
    fit: Mapping[str, Any],
    x: Float[Tensor, "samples inputs"],
    level: float,
) -> Bands:
    """The bands of each target at `x`, from what run.json says of the fit; nan in a group that tells of no errors.

    Raises:
        UsageError: where the data do not determine a parameter, or leave nothing to tell errors by.
    """
    # Of groups each may have bands of its own: those that tell of no errors have nan.
    loose = any(value is None for row in fit["covariance"] for value in row) and not network.groups
    if fit["freedom"] < 1 and not fit["absolute"]:
        raise UsageError("this fit has no intervals: as many parameters as samples leave nothing to tell errors by")
    if loose:
        names = [row["name"] for row in fit["parameters"] if row["note"] == UNDETERMINED]
        told = f"this fit has no intervals: the data do not determine {', '.join(names)}"
        raise UsageError(told, hint=f"a fit with one of them fixed has some: 'model.fixed=[{names[0]}]'")
    values = {name: value.detach().double() for name, value in network.values().items()}
    trained = {name: values[name] for name in network.trained}
    n_targets = network.curves.outputs
    # Two equal rows, as everywhere; targets do not matter to a slope.
    batch = (x.double()[None].repeat(2, 1, 1), torch.zeros(2, len(x), n_targets, dtype=torch.float64))
    fixed = {name: each.double()[None].repeat(2, *[1] * each.dim()) for name, each in network.named_buffers()}
    problem = problem_of(network, None, batch, trained, fixed, together=True)
    params = torch.cat([value.reshape(-1) for value in trained.values()]).repeat(2, 1)
    slopes = problem.real(problem.slopes(params)[:, 0])
    rows = [[math.nan if value is None else value for value in row] for row in fit["covariance"]]
    # Not by a product of matrices: what one group does not tell is no matter of another.
    variance = slopes.new_zeros(slopes.shape[1])
    for i, j, value in ((i, j, value) for i, row in enumerate(rows) for j, value in enumerate(row) if value):
        both = slopes[i] * slopes[j]
        variance += torch.where(both != 0, both * value, 0.0)
    known = _of_places(network, fit, x)
    # One for each number of degrees of freedom: there may be thousands of places.
    absolute = bool(fit["absolute"])
    quantiles = {n: reach(level, n, absolute=absolute) for n in {each["freedom"] for each in known}}
    t = x.new_tensor([quantiles[each["freedom"]] for each in known], dtype=torch.float64)[:, None]
    if isinstance(loss, Likelihood):
        # A count's variance is its mean, and a share's p (1 - p): `slope` is one over its root.
        middle = problem.real(problem.predictions(params)[0])
        scatter = loss.squares(middle, middle).slope.square().reciprocal().view(n_targets, -1).T
    else:
        scatter = x.new_tensor([_scatter(fit, each, n_targets) for each in known], dtype=torch.float64)
    # Rounding may leave less than nothing where terms of the covariance cancel.
    variance = variance.clamp_min(0).view(n_targets, -1).T
    # The variance of a new value is that of the curve and its own together.
    return Bands(t * variance.sqrt(), t * (variance + scatter).sqrt())


def possible(loss: LossFunction, values: Tensor) -> Tensor:
    """Ends of intervals, within what targets can be: a count is not below 0, a share between 0 and 1."""
    return values.clamp(*loss.targets) if isinstance(loss, Likelihood) else values


def _of_places(network: FormulaNetwork, fit: Mapping[str, Any], x: Tensor) -> list[Mapping[str, Any]]:
    """What tells the errors at each place: the fit, or that of its group."""
    if not network.groups:
        return [fit] * len(x)
    fits = {group["name"]: group for group in fit["groups"] if group["freedom"] is not None}
    groups = [fits.get(name, fit) for name in network.groups]
    return [groups[place] for place in (x[:, network.marks] > 0).to(torch.int64).argmax(1).tolist()]


def _scatter(fit: Mapping[str, Any], known: Mapping[str, Any], n_targets: int) -> list[float]:
    """The variance of values around the curve of each target."""
    size = 1.0 if fit["absolute"] else known["reduced"]
    weights = known.get("weights") or [known["weight"]] * n_targets
    return [math.nan if size is None else size / weight for weight in weights]
