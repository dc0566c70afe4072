"""How far the curve of a fit, and new values around it, may be off: by the first derivatives (the delta method)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import UsageError
from shoal.models import FormulaNetwork
from shoal.tails import t_quantile
from shoal.tasks.residuals import problem_of


class Bands(NamedTuple):
    """Half the width of the intervals around each prediction."""

    confidence: Float[Tensor, " samples"]
    """Of the curve itself."""
    prediction: Float[Tensor, " samples"]
    """Of one more value at that place, that scatters as those of the fit with a weight of 1 do."""


def bands(network: FormulaNetwork, fit: Mapping[str, Any], x: Float[Tensor, "samples inputs"], level: float) -> Bands:
    """The bands at `x`, from what run.json says of the fit.

    Raises:
        UsageError: where the data do not determine a parameter, or leave nothing to tell errors by.
    """
    if fit["freedom"] < 1 or any(value is None for row in fit["covariance"] for value in row):
        raise UsageError("this fit has no intervals: the data do not determine all of its parameters")
    values = {name: value.detach().double() for name, value in network.values().items()}
    trained = {name: values[name] for name in network.trained}
    batch = (x.double()[None].repeat(2, 1, 1), torch.zeros(2, len(x), 1, dtype=torch.float64))
    fixed = {name: each.double()[None].repeat(2, *[1] * each.dim()) for name, each in network.named_buffers()}
    problem = problem_of(network, None, batch, trained, fixed)
    slopes = problem.slopes(torch.stack(list(trained.values())).repeat(2, 1))[:, 0, : len(x)]
    covariance = torch.tensor(fit["covariance"], dtype=torch.float64)
    variance = torch.einsum("in,ij,jn->n", slopes, covariance, slopes).clamp_min(0)
    t = t_quantile(level, fit["freedom"])
    scatter = 1.0 if fit["absolute"] else fit["reduced"]
    return Bands(t * variance.sqrt(), t * (variance + (math.nan if scatter is None else scatter)).sqrt())
