"""How well the data determine the parameters, from the Jacobian where the fit has ended."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from shoal.optimizers.squares.triangular import decomposed, inverse

_SINGULAR = 1e-13
"""Smallest singular value of the Jacobian with columns of length 1, as a share of the largest, that is not rounding."""
_SHARE = 0.1
"""A parameter has part in a direction that the data do not determine from this share of the largest on."""


class Covariance(NamedTuple):
    """What the Jacobian of one run tells."""

    matrix: Float[Tensor, "params params"]
    """The covariance for residuals of unit variance; not a number for what is not determined, 0 for what is held."""
    undetermined: Bool[Tensor, " params"]
    """Parameters that can be changed, alone or together, without a change of any residual."""
    rank: int
    """In how many directions the parameters that are free change the residuals."""


def covariance(jacobian: Float[Tensor, "params samples"], held: Bool[Tensor, " params"] | None = None) -> Covariance:
    """The covariance of the parameters that are not `held` at a bound."""
    n = len(jacobian)
    held = torch.zeros(n, dtype=torch.bool) if held is None else held
    free = (~held).nonzero()[:, 0]
    undetermined = torch.zeros(n, dtype=torch.bool)
    matrix = torch.zeros(n, n, dtype=jacobian.dtype)
    # Columns of length 1: what counts as rounding must not depend on the units of a parameter.
    norms = jacobian[free].square().sum(-1).sqrt()
    undetermined[free[norms == 0]] = True
    free, norms = free[norms > 0], norms[norms > 0]
    rank = 0
    if len(free):
        scaled = functional.pad(
            jacobian[free] / norms[:, None], (0, len(free))
        )  # as long as there are columns at least
        # Twice: a single row would be summed by other kernels.
        columns = scaled[:, None, :].repeat(1, 2, 1)
        upper = decomposed(columns, columns[:0]).upper
        # Of R, which has the singular values of all samples in as many rows as there are parameters.
        _, sizes, directions = torch.linalg.svd(upper[:, 0, :].T)
        tight = sizes > _SINGULAR * sizes[0]
        rank = int(tight.sum())
        loose = directions[~tight].abs()
        undetermined[free] = (loose >= _SHARE * loose.amax(1, keepdim=True)).any(0)
        # (J'J)^-1 = R^-1 R^-T, without ever squaring what may nearly be singular.
        half = inverse(upper)[0] if tight.all() else directions[tight].T / sizes[tight]
        half = half / norms[:, None]
        matrix[free[:, None], free] = half @ half.T
    matrix[undetermined] = matrix[:, undetermined] = torch.nan
    return Covariance(matrix, undetermined, rank)
