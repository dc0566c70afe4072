"""Many fits that end near one another, as those of resampled data do: all of them by few large operations.

The steps are those of Levenberg and Marquardt in coordinates in which the Jacobian where they begin has columns of
length 1 at right angles. There the normal equations lose no digits that matter, and are cheaper than decompositions.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.tasks.residuals import FormulaProblem

Fits = Float[Tensor, "fits params"]
_STEPS = 40
_LEAST, _MORE = 1e-3, 10.0
"""Damping after the first step that does not help, and by what it grows and fades."""


def nearby(problem: FormulaProblem, start: Fits, *, step: float, cost: float) -> tuple[Fits, Bool[Tensor, " fits"]]:
    """Where each run comes to from `start`, the same for all of them, and whether it has come to an end.

    It has where a step changes no parameter by more than `step` of it, or can gain no more than `cost` of the cost.
    """
    params, ended = start.clone(), torch.zeros(len(start), dtype=torch.bool)
    into = _coordinates(problem, start)
    if into is None:
        return params, ended
    rows = torch.arange(len(start))
    search = _Search(problem, start, into)
    for _ in range(_STEPS):
        trial, done = search.proposed(step, cost)
        params[rows], ended[rows] = torch.where(done[:, None], trial, search.params), done
        if done.all():
            break
        # Of those that have ended nothing more is computed, once that pays for moving the others.
        if int(done.sum()) * 4 > len(rows):
            rows, trial, done = rows[~done], trial[~done], search.keep(~done)
        search.accept(torch.where(done[:, None], search.params, trial))
    return params, ended


def _coordinates(problem: FormulaProblem, start: Fits) -> Float[Tensor, "params params"] | None:
    """Steps along which the residuals change by 1 each, and at right angles; None where the data do not tell."""
    two = torch.tensor([0, 1])
    jacobian = problem.select(two).linearized(start[:2]).jacobian[:, 0].T
    if len(jacobian) < jacobian.shape[1] or not jacobian.isfinite().all():
        return None
    upper = torch.linalg.qr(jacobian, mode="r").R
    if not (upper.diagonal().abs() > 0).all():
        return None
    found: Tensor = torch.linalg.solve_triangular(upper, torch.eye(len(upper), dtype=upper.dtype), upper=True)
    return found


class _Search:
    """Where all fits stand that have not ended: their number, the first dimension of all tensors, becomes smaller."""

    def __init__(self, problem: FormulaProblem, params: Tensor, into: Float[Tensor, "params params"]) -> None:
        self.problem, self.params, self.into = problem, params.clone(), into
        self.damping = torch.zeros(len(params), dtype=params.dtype)
        self.cost, self.gram, self.slope = _at(problem, params, into)
        self.flat = torch.zeros(len(params), dtype=torch.bool)

    def proposed(self, step: float, cost: float) -> tuple[Tensor, Tensor]:
        """Where the next step of each run leads, and which runs that ends: it is as good as none."""
        damped = self.gram + torch.diag_embed(self.damping[:, None].expand_as(self.slope))
        along, _ = torch.linalg.solve_ex(damped, -self.slope)
        moved = along @ self.into.T
        trial = self.params + moved
        self.flat = (self.slope * along).sum(1).abs() <= cost * self.cost
        small = (moved.abs() <= step * trial.abs()).all(1)
        undamped = self.damping == 0
        return trial, (small | self.flat) & undamped & trial.isfinite().all(1)

    def accept(self, trial: Tensor) -> None:
        """Go where the cost is no larger; damp the others."""
        cost, gram, slope = _at(self.problem, trial, self.into)
        better = cost.isfinite() & ((cost <= self.cost) | self.flat)
        self.params = torch.where(better[:, None], trial, self.params)
        self.cost = torch.where(better, cost, self.cost)
        self.gram = torch.where(better[:, None, None], gram, self.gram)
        self.slope = torch.where(better[:, None], slope, self.slope)
        calmer = torch.where(self.damping > _LEAST, self.damping / _MORE, 0.0)
        self.damping = torch.where(better, calmer, (self.damping * _MORE).clamp_min(_LEAST))

    def keep(self, rows: Tensor) -> Tensor:
        """Go on with these runs alone, none of which has ended."""
        self.problem = self.problem.select(rows.nonzero()[:, 0])
        for name in ("params", "cost", "gram", "slope", "damping", "flat"):
            setattr(self, name, getattr(self, name)[rows])
        return torch.zeros(len(self.params), dtype=torch.bool)


def _at(
    problem: FormulaProblem, params: Float[Tensor, "fits params"], into: Float[Tensor, "params params"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The cost, the matrix of the normal equations and the cost's slope, in the coordinates of the steps."""
    point = problem.linearized(params)
    n, fits, samples = point.jacobian.shape
    columns = (into.T @ point.jacobian.reshape(n, -1)).view(n, fits, samples).transpose(0, 1)
    gram = columns @ columns.transpose(1, 2)
    slope = (columns @ point.values.residuals[:, :, None])[:, :, 0]
    return point.values.cost, gram, slope
