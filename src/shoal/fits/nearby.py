"""Many fits that end near one another, as those of resampled data do: all of them by few large operations.

The steps are those of Newton in coordinates in which the Jacobian where they begin has columns of length 1 at right
angles: there the normal equations lose no digits that matter, and are cheaper than decompositions. How the formula
bends is taken from where they begin. Where that makes no minimum, or a step does not help, they are Levenberg and
Marquardt's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.losses import MeanSquaredError
from shoal.tasks.formula_problem import FormulaProblem

Fits = Float[Tensor, "fits params"]
_STEPS = 40
_LEAST, _MORE = 1e-3, 10.0
"""Damping after the first step that does not help, and by what it grows and fades."""
_FAST = 0.3
"""Steps that become shorter by this factor or more go on to do so."""


class _Point(NamedTuple):
    """The cost, its slope, and its bend without and with that of the formula, in the coordinates of the steps."""

    cost: Float[Tensor, " fits"]
    slope: Float[Tensor, "params fits"]
    gram: Float[Tensor, "params params fits"]
    bend: Float[Tensor, "params params fits"]


def nearby(problem: FormulaProblem, start: Fits, *, step: float, cost: float) -> tuple[Fits, Bool[Tensor, " fits"]]:
    """Where each run comes to from `start`, the same for all of them, and whether it has come to an end.

    It has where a step changes no parameter by more than `step` of it, or can gain no more than `cost` of the cost.
    """
    params, ended = start.clone(), torch.zeros(len(start), dtype=torch.bool)
    samples = _Samples.of(problem)
    begin = _Begin.of(samples, start)
    if begin is None:
        return params, ended
    rows = torch.arange(len(start))
    search = _Search(samples, start, begin)
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


class _Begin(NamedTuple):
    """What all runs have in common where they begin."""

    into: Float[Tensor, "params params"]
    """Steps along which the residuals change by 1 each, and at right angles."""
    values: Float[Tensor, " real"]
    slopes: Float[Tensor, "real params"]
    """Of the formula's value, along these steps."""
    bends: Float[Tensor, "real params_params"] | None
    """Its second derivatives along them, where they are known."""

    @classmethod
    def of(cls, samples: _Samples, start: Tensor) -> _Begin | None:
        """None where the data do not tell."""
        # Two of them: all begin at one place, and a single row would be summed by other kernels.
        one = samples.select(torch.tensor([0, 1]))
        values, found = one.problem.sloped(start[:2])
        slopes = torch.stack([_times(torch.ones_like(values), slope)[0] for slope in found], dim=1)
        jacobian = slopes * one.judged(values)[2][0].sqrt()[:, None]
        if len(jacobian) < jacobian.shape[1] or not jacobian.isfinite().all():
            return None
        upper = torch.linalg.qr(jacobian, mode="r").R
        # Singular: the coordinates would be infinite, and the slower way says what is not determined.
        if not (upper.diagonal().abs() > 0).all():
            return None
        into: Tensor = torch.linalg.solve_triangular(upper, torch.eye(len(upper), dtype=upper.dtype), upper=True)
        second = one.problem.bends(start[:2]) if samples.squared else None
        bends = None if second is None else _turned(one.problem.real(second[:, :, 0]).movedim(-1, 0), into)
        return cls(into, values[0], slopes @ into, bends)

    def point(self, samples: _Samples, start: Tensor) -> _Point:
        """Where the steps begin: what is squared there is the same for all runs but for its weight."""
        if not samples.squared:
            return self.at(samples, start)
        weight = samples.weight.expand(len(start), -1)
        error = self.values - samples.y
        weighted = weight * error
        n = self.slopes.shape[1]
        products = (self.slopes[:, :, None] * self.slopes[:, None, :]).flatten(1)
        # One product of matrices for all fits: they differ in their weights alone.
        gram = (products.T @ weight.T).view(n, n, -1)
        return _Point((weighted * error).sum(1), self.slopes.T @ weighted.T, gram, self._bent(gram, weighted))

    def at(self, samples: _Samples, params: Tensor) -> _Point:
        """Where runs are elsewhere."""
        values, slopes = samples.problem.sloped(params)
        cost, weighted, weight = samples.judged(values)
        n = len(slopes)
        heavy = [_times(weight, slope) for slope in slopes]
        # Half of it, as it is symmetric; `places` puts both halves together.
        gram = torch.stack([_times(heavy[max(i, j)], slopes[min(i, j)]).sum(1) for i in range(n) for j in range(i + 1)])
        places = torch.tensor([[max(i, j) * (max(i, j) + 1) // 2 + min(i, j) for j in range(n)] for i in range(n)])
        turned = (self.into.T @ gram[places].view(n, -1)).view(n, n, -1)  # by the first of the two, then by the other
        gram = (self.into.T @ turned.transpose(0, 1).reshape(n, -1)).view(n, n, -1)
        slope = self.into.T @ torch.stack([_times(weighted, slope).sum(1) for slope in slopes])
        return _Point(cost, slope, gram, self._bent(gram, weighted))

    def _bent(self, gram: Tensor, weighted: Tensor) -> Tensor:
        return gram if self.bends is None else gram + (self.bends.T @ weighted.T).view(gram.shape)


class _Samples(NamedTuple):
    """What the fits are held against, without samples that only fill up."""

    problem: FormulaProblem
    y: Tensor
    """Of shape (1 or fits, real)."""
    weight: Tensor
    """The same."""

    @classmethod
    def of(cls, problem: FormulaProblem) -> _Samples:
        """Those of a problem."""
        return cls(problem, problem.real(problem.y).contiguous(), problem.real(problem.root).square())

    @property
    def squared(self) -> bool:
        """Whether it is the squares of the errors that are small in the end."""
        return isinstance(self.problem.loss, MeanSquaredError)

    def judged(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The cost of each fit; half of its slope by each value; and half of its bend, or what stands for that."""
        if self.squared:
            error = values - self.y
            weighted = self.weight * error
            return (weighted * error).sum(1), weighted, self.weight
        found = self.problem.loss.squares(values, self.y)
        heavy = self.weight * found.slope
        return (self.weight * found.cost).sum(1), heavy * found.residual, heavy * found.slope

    def select(self, rows: Tensor) -> _Samples:
        """Those of some of the fits."""
        y, weight = (each if len(each) == 1 else each[rows] for each in (self.y, self.weight))
        return _Samples(self.problem.select(rows), y, weight)


def _turned(bends: Tensor, into: Tensor) -> Tensor:
    return (into.T @ bends @ into).flatten(1)


def _times(values: Tensor, slope: Tensor | float) -> Tensor:
    return values if isinstance(slope, float) and slope == 1.0 else values * slope


class _Search:
    """Where all fits stand that have not ended: their number becomes smaller."""

    def __init__(self, samples: _Samples, params: Tensor, begin: _Begin) -> None:
        self.samples, self.params, self.begin = samples, params.clone(), begin
        self.damping = torch.zeros(len(params), dtype=params.dtype)
        self.point = begin.point(self.samples, params)
        self.flat = torch.zeros(len(params), dtype=torch.bool)
        self.before = torch.full((len(params),), torch.nan, dtype=params.dtype)
        """Length of the last step, in multiples of what is as good as none; not a number where it did not help."""

    def proposed(self, step: float, cost: float) -> tuple[Tensor, Tensor]:
        """The next step of each run, and which runs end with it, because it or the one after it is next to nothing."""
        point, undamped = self.point, self.damping == 0
        along, good = solved(point.bend, -point.slope)
        # A step without damping where the bend makes no minimum would lead uphill.
        if not (good & undamped).all():
            identity = torch.eye(len(point.slope), dtype=along.dtype)[:, :, None]
            damping = torch.where(undamped & ~good, _LEAST, self.damping)
            other, _ = solved(point.gram + identity * damping, -point.slope)
            along = torch.where(good & undamped, along, other)
        moved = along.T @ self.begin.into.T
        trial = self.params + moved
        self.flat = (point.slope * along).sum(0).abs() <= cost * point.cost
        length = (moved.abs() / (step * trial.abs()).clamp_min(torch.finfo(moved.dtype).tiny)).amax(1)
        # By how much steps get shorter: of Newton's, more and more.
        rate = length / self.before
        next_one = (rate <= _FAST) & (length * rate <= 1 - _FAST)
        self.before = length
        return trial, ((length <= 1) | next_one | self.flat) & undamped & good & trial.isfinite().all(1)

    def accept(self, trial: Tensor) -> None:
        """Go where the cost is no larger; damp the others."""
        new, old = self.begin.at(self.samples, trial), self.point
        # Where nothing more can be gained the cost may rise by its rounding.
        better = new.cost.isfinite() & ((new.cost <= old.cost) | self.flat)
        self.params = torch.where(better[:, None], trial, self.params)
        self.point = (
            new if better.all() else _Point(*(torch.where(better, a, b) for a, b in zip(new, old, strict=True)))
        )
        self.before = torch.where(better & (self.damping == 0), self.before, torch.nan)
        calmer = torch.where(self.damping > _LEAST, self.damping / _MORE, 0.0)
        self.damping = torch.where(better, calmer, (self.damping * _MORE).clamp_min(_LEAST))

    def keep(self, rows: Tensor) -> Tensor:
        """Go on with these runs alone, none of which has ended."""
        self.samples = self.samples.select(rows.nonzero()[:, 0])
        self.point = _Point(*(each[..., rows] for each in self.point))
        for name in ("params", "damping", "flat", "before"):
            setattr(self, name, getattr(self, name)[rows])
        return torch.zeros(len(self.params), dtype=torch.bool)


def solved(
    matrix: Float[Tensor, "n n fits"], right: Float[Tensor, "n fits"]
) -> tuple[Float[Tensor, "n fits"], Bool[Tensor, " fits"]]:
    """X of A x = right for symmetric A, and where A is positive definite: by Cholesky's factors of all fits."""
    n = len(right)
    lower: list[list[Tensor]] = []
    y: list[Tensor] = []
    good = torch.ones(right.shape[1], dtype=torch.bool)
    for i in range(n):
        row: list[Tensor] = []
        for j in range(i):
            left = matrix[i, j]
            for k in range(j):
                # Written out over the parameters: each operation is one over all fits.
                left = left - row[k] * lower[j][k]
            row.append(left / lower[j][j])
        pivot, rest = matrix[i, i], right[i]
        for k in range(i):
            pivot, rest = pivot - row[k] * row[k], rest - row[k] * y[k]
        good = good & (pivot > 0)
        row.append(torch.where(pivot > 0, pivot, 1.0).sqrt())
        lower.append(row)
        y.append(rest / row[i])
    x = y
    for i in reversed(range(n)):
        for k in range(i + 1, n):
            x[i] = x[i] - lower[k][i] * x[k]
        x[i] = x[i] / lower[i][i]
    return torch.stack(x), good
