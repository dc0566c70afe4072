"""Intervals by the profile likelihood: where a parameter, all others fitted anew, makes the cost too large.

Of a straight problem they are those of Student's t; of one that bends they lean with it (Bates & Watts, 1988, 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.optimizers.squares import Tolerances, solve
from shoal.optimizers.squares.problem import OfRuns
from shoal.tasks.formula_problem import FormulaProblem

GRADIENT, STEP, COST = 1e-12, 1e-10, 1e-20
"""Tolerances of the fits of the other parameters."""
_CLOSE = 1e-9
"""The cost's root is found to this share of what it should be."""
_TRIES = 60
"""After so many steps outwards, or so many halvings, an end counts as not there."""
_LESS = 1e-6
"""A cost that is less than that of the fit by this share of it is another, better minimum."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The ends of the intervals of some parameters, in the order they were asked for."""

    ends: list[tuple[float | None, float | None]]
    """None where the cost never becomes so large."""
    better: bool
    """Whether a smaller cost than the fit's was met on the way."""


def profile(
    problem: FormulaProblem,
    params: Float[Tensor, " params"],
    covariance: Float[Tensor, "params params"],
    wanted: list[int],
    *,
    variance: float,
    t: float,
) -> Profile:
    """Where the cost is larger than at `params` by `t` squared times `variance`, to both sides of the `wanted` ones.

    All of them are searched as one stack. `problem` has one row.
    """
    if not wanted or not variance > 0:
        return Profile(ends=[(None, None)] * len(wanted), better=False)
    search = _Search(problem, params, covariance, torch.tensor(wanted).repeat_interleave(2), variance, t)
    found = search.ends().view(-1, 2)
    ends = [(_finite(low), _finite(high)) for low, high in found.tolist()]
    return Profile(ends=ends, better=search.better)


class _Search:
    """The search for all ends: one row for each, that of the lower end first."""

    def __init__(
        self,
        problem: FormulaProblem,
        params: Float[Tensor, " params"],
        covariance: Float[Tensor, "params params"],
        which: Tensor,
        variance: float,
        t: float,
    ) -> None:
        n = len(which)
        self.problem, self.which, self.variance, self.t = problem, which, variance, t
        self.rows = torch.arange(n)
        self.middle = params[which]
        self.least = float(problem.values(params.repeat(2, 1)).cost[0])
        self.better = False
        side = torch.tensor([-1.0, 1.0], dtype=params.dtype).repeat(n // 2)
        error = covariance[which, which].sqrt()
        # Where the ends of a straight problem are.
        self.at = self.middle + side * t * error
        # The others move along with it, as in a problem that is straight.
        along = torch.nan_to_num(covariance[which] / covariance[which, which][:, None])
        self.others = params + along * (self.at - self.middle)[:, None]
        infinite = torch.full((n, len(params)), torch.inf, dtype=params.dtype)
        low, high = problem.bounds or (-infinite, infinite)
        self.low, self.high = (each.expand(n, -1).clone() for each in (low, high))
        self.limit = torch.where(side < 0, self.low[self.rows, which], self.high[self.rows, which])

    def ends(self) -> OfRuns:
        """Each end; infinite where there is none."""
        inner, outer = self.middle.clone(), torch.full_like(self.middle, torch.nan)
        below, above = torch.full_like(inner, -self.t), torch.full_like(inner, torch.nan)
        self.at = self._inside(self.at)
        done = torch.zeros(len(inner), dtype=torch.bool)
        for _ in range(_TRIES):
            height = self._height()
            far = ~(height < 0)
            found = height.abs() <= _CLOSE * self.t
            stuck = (height < 0) & (self.at == self.limit)  # at its bound, and the cost is small enough there
            # No number is left between the two.
            tight = (outer - inner).abs() <= 4 * torch.finfo(inner.dtype).eps * inner.abs()
            done |= found | stuck | tight
            if done.all():
                break
            inner, below = torch.where(far, inner, self.at), torch.where(far, below, height)
            outer, above = torch.where(far, self.at, outer), torch.where(far, height, above)
            self.at = torch.where(done, self.at, self._inside(self._next(inner, outer, below, above)))
        return torch.where(done, self.at, torch.copysign(torch.full_like(inner, torch.inf), self.at - self.middle))

    def _next(self, inner: OfRuns, outer: OfRuns, below: OfRuns, above: OfRuns) -> OfRuns:
        """The next place to try: further out while no outer end is known, then by the secant or by halving."""
        share = -below / (above - below)
        # Near an end the secant creeps: the middle halves what is left.
        share = torch.where(share.isfinite() & (share > 0.05) & (share < 0.95), share, 0.5)
        # The root of the growth is a straight line where the problem is one: the end would be so much further out.
        reach = (self.t / (below + self.t)).clamp(1.01, 3.0).nan_to_num(3.0)
        further = self.middle + (self.at - self.middle) * reach
        return torch.where(outer.isnan(), further, inner + share * (outer - inner))

    def _height(self) -> OfRuns:
        """The root of how much the cost has grown, in standard deviations, less what it should be."""
        low, high, start = self.low.clone(), self.high.clone(), self.others.clone()
        for each in (low, high, start):
            each[self.rows, self.which] = self.at
        # Held by bounds that leave it one value: so the solver needs no way of its own.
        held = replace(self.problem, bounds=(low, high))
        tolerances = Tolerances(*(self.at.new_full(self.at.shape, each) for each in (GRADIENT, STEP, COST)))
        found = solve(held, start, tolerances, max_steps=200, damping=1e-3)
        cost = held.values(found.params).cost
        good = cost.isfinite()
        self.better = self.better or bool((cost[good] < self.least * (1 - _LESS)).any())
        self.others = torch.where(good[:, None], found.params, self.others)
        # The root, as the cost grows with the square of the distance.
        grown = ((cost - self.least).clamp_min(0) / self.variance).sqrt()
        return torch.where(good, grown - self.t, torch.inf)

    def _inside(self, at: OfRuns) -> OfRuns:
        return at.maximum(self.low[self.rows, self.which]).minimum(self.high[self.rows, self.which])


def _finite(end: float) -> float | None:
    return end if abs(end) < float("inf") else None
