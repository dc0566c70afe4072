"""One step of Levenberg and Marquardt for every run of a stack, each with its own damping.

Columns are scaled by the largest norm they have had (Moré, 1978), which fades. The damping follows how well the last
step was foretold (Nielsen, 1999), and a step may have a second order by geodesic acceleration (Transtrum & Sethna,
2012).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from shoal.optimizers.squares.problem import Linearized, OfRuns, Params, Problem, Squared, summed
from shoal.optimizers.squares.triangular import Reflected, decomposed, solved

RUNNING, GRADIENT, STEP, COST, STUCK = range(5)
"""Why a run has stopped, or that it has not."""
_PROBE = 0.1
"""Share of a step over which its second order is measured."""
_BENT = 0.75
"""A step whose second order is longer than this share of it is not taken."""
_FADING = 0.5
"""What is left of the largest norm of a column from step to step. If all of it were, MGH10 of NIST would take thousands
of steps from its first start; if nothing were, MGH17 would be lost."""
_LEAST, _MOST = 1e-30, 1e30
"""Between these the damping stays."""


class Tolerances(NamedTuple):
    """When a run stops."""

    gradient: OfRuns
    """Cosine of the angle between the residuals and each column of the Jacobian."""
    step: OfRuns
    """Length of a step, as a share of the parameters' own, in each of them."""
    cost: OfRuns
    """What is still to be gained, as a share of the cost."""


class Damping(NamedTuple):
    """Where the search stands."""

    factor: OfRuns
    """The damping; negative before the first step."""
    growth: OfRuns
    """What it is multiplied by after a step that did not help."""
    scale: Params
    """Norm of each column of the Jacobian, the largest so far, which fades."""
    length: OfRuns
    """Length, in scaled parameters, of the last step whose gain was within rounding; infinite before there was one."""

    @classmethod
    def fresh(cls, params: Params) -> Damping:
        """Before the first step."""
        ones = torch.ones(len(params), dtype=params.dtype, device=params.device)
        return cls(-ones, 2 * ones, torch.zeros_like(params), torch.inf * ones)

    def where(self, mask: Bool[Tensor, " runs"], other: Damping) -> Damping:
        """This for the runs of the mask, the other for those beside."""
        pairs = zip(self, other, strict=True)
        return Damping(*(torch.where(mask if a.dim() == 1 else mask[:, None], a, b) for a, b in pairs))


class Tried(NamedTuple):
    """What came of a step."""

    params: Params
    damping: Damping
    stopped: Int[Tensor, " runs"]
    accepted: Bool[Tensor, " runs"]
    cost: OfRuns
    """At the parameters before the step."""


def tried(
    problem: Problem,
    params: Params,
    damping: Damping,
    limits: Tolerances,
    *,
    initial: OfRuns,
    accelerated: Bool[Tensor, " runs"],
) -> Tried:
    """Try one step from `params`; where it does not help, the damping is all that changes."""
    point = problem.linearized(params)
    values = point.values
    jacobian = _free(problem, point, params)
    norms = summed(jacobian.square()).sqrt().T
    scale = torch.maximum(_FADING * damping.scale, norms)
    # A parameter that has had no effect yet has a scale of 0: its column of zeros, divided by 1, stays one.
    safe = torch.where(scale > 0, scale, 1.0)
    size = summed(values.residuals.square()).sqrt()
    decomposition = decomposed(jacobian / safe.T[:, :, None], values.residuals[None])
    right = decomposition.rest[0][:, : params.shape[1]]
    # As MINPACK's `gtol` (Moré, 1978): of no unit, whatever the parameters' and the residuals' are.
    cosine = _cosine(jacobian, values.residuals, norms, size)
    factor = torch.where(damping.factor < 0, initial, damping.factor)
    first, small = _damped(decomposition, right, factor)
    whole = first
    if accelerated.any():
        bent = _accelerated(problem, point, params, jacobian, safe, decomposition, small, first)
        whole = torch.where(accelerated[:, None], bent, first)
    trial = params + whole / safe
    # R times the step, without a matrix product, whose order of summation may depend on the number of runs.
    image = summed((decomposition.upper * first.T[:, :, None]).movedim(0, -1))
    # Of the first order alone: the model of the residuals that foretells is linear.
    # |r|^2 - |r + J h|^2 in the coordinates of Q, in which J h is R h.
    foretold = -summed(2 * right * image + image.square())
    length = summed(first.square()).sqrt()
    if problem.bounds is not None:
        stopping = _stopped_by_bounds(problem.bounds, params, trial, jacobian, values.residuals, safe, factor)
        trial = torch.where(stopping.any[:, None], stopping.trial, trial)
        foretold = torch.where(stopping.any, stopping.foretold, foretold)
        length = torch.where(stopping.any, summed(((trial - params) * safe).square()).sqrt(), length)
    there = problem.values(trial)
    gain = values.cost - there.cost
    return _verdict(
        params,
        trial,
        values,
        there,
        gain,
        foretold,
        length,
        cosine,
        limits,
        Damping(factor, damping.growth, scale, damping.length),
    )


class _StoppedByBounds(NamedTuple):
    """A step that would lead beyond bounds, onto them."""

    any: Bool[Tensor, " runs"]
    """Whether it is that of a run."""
    trial: Params
    foretold: OfRuns


def _stopped_by_bounds(
    bounds: tuple[Params, Params],
    params: Params,
    trial: Params,
    jacobian: Tensor,
    residuals: Tensor,
    safe: Params,
    factor: OfRuns,
) -> _StoppedByBounds:
    """Put what would go beyond its bound onto it, and solve for the others' step anew, given that."""
    low, high = bounds
    beyond = (trial < low) | (trial > high)
    onto = trial.maximum(low).minimum(high)
    moved = residuals
    # Column by column, for the same reason as in `tried`.
    for i, column in enumerate(jacobian):
        moved = moved + column * torch.where(beyond, onto - params, 0.0)[:, i : i + 1]
    others = torch.where(beyond.T[:, :, None], 0.0, jacobian)
    # Cutting the step alone would leave the others what they were to do beside a longer one, short of their minimum.
    again = decomposed(others / safe.T[:, :, None], moved[None])
    step, _ = _damped(again, again.rest[0][:, : params.shape[1]], factor)
    left = moved
    for i, column in enumerate(others):
        left = left + column * (step / safe)[:, i : i + 1]
    rest = (params + step / safe).maximum(low).minimum(high)
    foretold = summed(residuals.square()) - summed(left.square())
    return _StoppedByBounds(beyond.any(1), torch.where(beyond, onto, rest), foretold)


def _free(problem: Problem, point: Linearized, params: Params) -> Tensor:
    """The Jacobian, zero for the parameters that stand at a bound and are pushed beyond it."""
    if problem.bounds is None:
        return point.jacobian
    low, high = problem.bounds
    # Minus half of the cost's gradient.
    downhill = -summed(point.jacobian * point.values.residuals).T
    held = ((params <= low) & (downhill < 0)) | ((params >= high) & (downhill > 0))
    return torch.where(held.T[:, :, None], 0.0, point.jacobian)


def _cosine(jacobian: Tensor, residuals: Tensor, norms: Params, size: OfRuns) -> OfRuns:
    product = norms * size[:, None]
    along = summed(jacobian * residuals).T.abs()
    # Without residuals, or without any effect of a parameter, there is nothing to gain.
    return torch.where(product > 0, along / torch.where(product > 0, product, 1.0), 0.0).amax(1)


def _damped(of: Reflected, right: Params, factor: OfRuns) -> tuple[Params, Reflected]:
    """The damped step in scaled parameters, and the decomposition that others are solved by."""
    n = right.shape[1]
    root = factor.sqrt()[:, None]
    # The step minimises |R h + Q'r|^2 + factor |h|^2: least squares again, with these rows beneath.
    diagonal = torch.eye(n, dtype=right.dtype, device=right.device)[:, None, :] * root
    # Beneath R and not beneath the Jacobian (Moré, 1978): of all its samples only as many rows as columns are left.
    columns = torch.cat([of.upper, diagonal.expand(n, len(right), n)], dim=-1)
    below = torch.cat([right, torch.zeros_like(right)], dim=-1)
    small = decomposed(columns, below[None])
    return _without_idle(of, -solved(small.upper, small.rest[0][:, :n])), small


def _without_idle(of: Reflected, step: Params) -> Params:
    """The step without that of parameters that have no effect, or are held at a bound."""
    # It is 0 but for rounding, which a small damping magnifies: enough to leave the bound, and be taken for free.
    return torch.where((of.upper == 0).all(-1).T, 0.0, step)


def _accelerated(
    problem: Problem,
    point: Linearized,
    params: Params,
    jacobian: Tensor,
    safe: Params,
    of: Reflected,
    small: Reflected,
    first: Params,
) -> Params:
    """The step with its second order, where that is short enough."""
    n = params.shape[1]
    step = first / safe
    ahead = problem.values(params + _PROBE * step)
    slope = torch.zeros_like(ahead.residuals)
    for i, column in enumerate(jacobian):
        slope = slope + column * step[:, i : i + 1]
    # The residuals' second derivative along the step, by one more evaluation: no matrix of second derivatives is made.
    # 2/h ((r(x + h v) - r(x)) / h - J v) (Transtrum & Sethna, 2012).
    second = (2 / _PROBE) * ((ahead.residuals - point.values.residuals) / _PROBE - slope)
    right = of.reflect(second)[:, :n]
    below = small.reflect(torch.cat([right, torch.zeros_like(right)], dim=-1))
    bend = _without_idle(of, -0.5 * solved(small.upper, below[:, :n]))
    # No number where the step has no length: the comparison is then false.
    ratio = 2 * summed(bend.square()).sqrt() / summed(first.square()).sqrt()
    return torch.where((ratio <= _BENT)[:, None], first + bend, first)


def _verdict(
    params: Params,
    trial: Params,
    values: Squared,
    there: Squared,
    gain: OfRuns,
    foretold: OfRuns,
    length: OfRuns,
    cosine: OfRuns,
    limits: Tolerances,
    damping: Damping,
) -> Tried:
    finite = there.cost.isfinite() & trial.isfinite().all(1)
    # Within its rounding the cost tells nothing: there a step that makes it no worse is as good as it was foretold.
    told = foretold > 10 * values.noise
    ratio = torch.where(told, gain / torch.where(told, foretold, 1.0), torch.where(gain >= -values.noise, 1.0, -1.0))
    # As in MINPACK: what gains next to nothing of what was foretold is no step.
    accepted = finite & (ratio > 1e-4)
    # Nielsen's: a third after a step as good as foretold, no change after one half as good.
    shrink = (1 - (2 * ratio - 1) ** 3).clamp(1 / 3, 2.0)
    factor = torch.where(accepted, damping.factor * shrink, damping.factor * damping.growth).clamp(_LEAST, _MOST)
    growth = torch.where(accepted, 2.0, 2 * damping.growth)
    moved = (trial - params).abs()
    # The second term lets a parameter stop that comes to 0.
    small = (moved <= limits.step[:, None] * (trial.abs() + limits.step[:, None])).all(1)
    stopped = torch.zeros(len(params), dtype=torch.int64, device=params.device)
    # Steps that rounding judges get shorter near a minimum; one that does not has nothing left to find.
    stalled = ~told & (length >= damping.length)
    # Where several hold, the last of them is given: from the one that tells least of a minimum to the surest.
    for mask, why in (
        (damping.factor * damping.growth >= _MOST, STUCK),
        (stalled, COST),
        (foretold <= limits.cost * values.cost, COST),
        (finite & small, STEP),
        (cosine <= limits.gradient, GRADIENT),
    ):
        stopped = torch.where(mask, why, stopped)
    last = torch.where(told | ~accepted, damping.length, length)
    new = torch.where(accepted[:, None], trial, params)
    return Tried(new, Damping(factor, growth, damping.scale, last), stopped, accepted, values.cost)
