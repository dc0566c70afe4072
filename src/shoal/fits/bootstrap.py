"""Errors and intervals by the bootstrap: the fits of resampled data, all of them one stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.fits.nearby import nearby
from shoal.losses import Likelihood
from shoal.optimizers.squares import Tolerances, solve
from shoal.optimizers.squares.levenberg import RUNNING, STUCK
from shoal.tasks.formula_problem import FormulaProblem

Resampling = Literal["cases", "residuals", "parametric"]
STEP, COST = 1e-8, 1e-12
"""Tolerances of a resampled fit: its parameters scatter by far more."""
_DAMPING = 1e-3
"""Of the first step: a resampled fit begins where the fit has ended."""
_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """What the resampled fits say of each parameter, by name."""

    resampling: str
    samples: int
    failed: int
    """Resampled fits that came to no end; they are left out."""
    errors: dict[str, float]
    """Standard deviations."""
    intervals: dict[str, tuple[float, float]]
    """From quantile to quantile (Efron & Tibshirani, 1993, 13.3)."""

    def plain(self) -> dict[str, Any]:
        """As lists, dictionaries and numbers, for JSON."""
        return asdict(self)


def bootstrap(
    problem: FormulaProblem,
    params: Float[Tensor, " params"],
    *,
    labels: Sequence[str],
    samples: int,
    resampling: Resampling,
    level: float,
    generator: torch.Generator,
    known: bool,
) -> Bootstrap:
    """Fit `samples` resampled sets of the samples of a problem with one row, from where its fit has ended.

    `labels` name the numbers that are fitted; the size of noise is what the residuals have, unless it is `known`.
    """
    made = resampled(problem, params, samples=samples, resampling=resampling, generator=generator, known=known)
    found, ended = solution(made, params.repeat(samples, 1))
    good = found[ended]
    tail = (1 - level) / 2
    # The quantiles themselves, which lean as the parameter's distribution does.
    ends = torch.quantile(good, torch.tensor([tail, 1 - tail], dtype=good.dtype), dim=0).T.tolist()
    return Bootstrap(
        resampling=resampling,
        samples=samples,
        failed=samples - len(good),
        errors=dict(zip(labels, good.std(0).tolist(), strict=True)),
        intervals={name: (low, high) for name, (low, high) in zip(labels, ends, strict=True)},
    )


def solution(problem: FormulaProblem, start: Float[Tensor, "fits params"]) -> tuple[Tensor, Bool[Tensor, " fits"]]:
    """The fits of resampled data as one stack, and which of them have come to an end.

    What stays near the start is found by few large operations; the others, and all within bounds, go longer ways.
    """
    params, ended = start.clone(), torch.zeros(len(start), dtype=torch.bool)
    if problem.bounds is None:
        params, ended = nearby(problem, start, step=STEP, cost=COST)
    left = (~ended).nonzero()[:, 0]
    if len(left):
        # A single row would be summed by other kernels.
        rows = left if len(left) > 1 else left.repeat(2)
        tolerances = Tolerances(*(start.new_full((len(rows),), each) for each in (0.0, STEP, COST)))
        found = solve(
            problem.select(rows), start[rows], tolerances, max_steps=_STEPS, damping=_DAMPING, acceleration=False
        )
        params[rows] = found.params
        ended[rows] = (found.stopped != RUNNING) & (found.stopped != STUCK)
    return params, ended & params.isfinite().all(1)


def resampled(
    problem: FormulaProblem,
    params: Float[Tensor, " params"],
    *,
    samples: int,
    resampling: Resampling,
    generator: torch.Generator,
    known: bool = False,
) -> FormulaProblem:
    """The problem of as many runs, each with its own draw: of rows, of residuals, or of noise as the loss has it.

    All targets of a row are drawn together; the size of normal noise is each target's own, unless it is `known`.
    """
    n, n_targets = problem.n, problem.curves.outputs
    if resampling == "cases":
        drawn = _rows(problem, n, samples, generator)
        counts = torch.zeros(samples, problem.y.shape[1] // n_targets, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        # A row that is drawn twice weighs twice as much: so all runs have the columns in common.
        return replace(problem, root=problem.root * counts.sqrt().repeat(1, n_targets))
    values = problem.real(problem.predictions(params.repeat(2, 1))[:1])
    if isinstance(problem.loss, Likelihood):
        trials = problem.real(problem.root).square()
        return replace(problem, y=problem.of_all(problem.loss.drawn(values.expand(samples, -1), trials, generator)))
    root = problem.real(problem.root).view(n_targets, n)
    # Weighted residuals, which all have one variance: they may change places.
    weighted = (problem.real(problem.y) - values).view(n_targets, n) * root
    counted = root > 0
    n_counted = int(counted.sum())
    # Residuals are smaller than errors, by as many parameters as were fitted to them.
    spread = (n_counted / max(n_counted - len(params), 1)) ** 0.5
    if resampling == "residuals":
        noise = _exchanged(weighted, counted, samples, generator) * spread
    else:
        size = weighted.square().sum(1, keepdim=True).div(counted.sum(1, keepdim=True)).sqrt() * spread
        noise = torch.randn(samples, n_targets, n, generator=generator, dtype=torch.float64) * (1.0 if known else size)
    # Back to the size that each row's own error has.
    noisy = values + (noise / torch.where(counted, root, 1.0)).flatten(1)
    return replace(problem, y=problem.of_all(noisy))


def _exchanged(
    weighted: Float[Tensor, "targets samples"],
    counted: Bool[Tensor, "targets samples"],
    samples: int,
    generator: torch.Generator,
) -> Float[Tensor, "fits targets samples"]:
    """Residuals of other rows, around their mean, which drawn noise must not add to every value."""
    centered = weighted - (weighted.sum(1) / counted.sum(1))[:, None]
    if counted.all():
        drawn = torch.randint(weighted.shape[1], (samples, weighted.shape[1]), generator=generator)
        return centered[:, drawn].transpose(0, 1)
    # Rows that miss a target have no residual in it: others of that target are drawn.
    drawn = torch.multinomial(counted.double(), samples * weighted.shape[1], replacement=True, generator=generator)
    return centered.gather(1, drawn).view(len(centered), samples, -1).transpose(0, 1)


def _rows(problem: FormulaProblem, n: int, samples: int, generator: torch.Generator) -> Tensor:
    """Rows drawn with replacement: of groups each keeps the number of its rows."""
    if problem.member is None:
        return torch.randint(n, (samples, n), generator=generator)
    group = problem.member[0, :n].to(torch.int64).argmax(1)
    order = group.argsort(stable=True)
    counts = group.bincount()
    # Where the rows of its group begin in `order`.
    first = (counts.cumsum(0) - counts)[group]
    place = torch.rand(samples, n, generator=generator, dtype=torch.float64) * counts[group]
    return order[first + place.long()]
