"""Fits of a stack from their starts to their ends."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from shoal.optimizers.squares.levenberg import RUNNING, Damping, Tolerances, tried
from shoal.optimizers.squares.problem import Params, Problem


class Solution(NamedTuple):
    """Where each run has come to."""

    params: Params
    stopped: Int[Tensor, " runs"]
    """Why; `RUNNING` where the steps were too few."""
    steps: Int[Tensor, " runs"]


def solve(
    problem: Problem,
    start: Params,
    tolerances: Tolerances,
    *,
    max_steps: int = 2000,
    damping: float = 1e3,
    acceleration: bool = True,
) -> Solution:
    """Take steps until every run has stopped. Those that have are left out of what is computed."""
    params, state = start.clone(), Damping.fresh(start)
    initial = torch.full((len(start),), damping, dtype=start.dtype)
    accelerated = torch.full((len(start),), acceleration)
    stopped = torch.zeros(len(start), dtype=torch.int64)
    steps = torch.zeros(len(start), dtype=torch.int64)
    for _ in range(max_steps):
        rows = (stopped == RUNNING).nonzero()[:, 0]
        if not len(rows):
            break
        # A single row would be summed by other kernels.
        rows = rows if len(rows) > 1 else rows.repeat(2)
        step = tried(
            problem.select(rows),
            params[rows],
            Damping(*(each[rows] for each in state)),
            Tolerances(*(each[rows] for each in tolerances)),
            initial=initial[rows],
            accelerated=accelerated[rows],
        )
        params[rows], stopped[rows] = step.params, step.stopped
        # A row that stands twice is written twice, with the same numbers.
        state = Damping(*(each.index_copy(0, rows, new) for each, new in zip(state, step.damping, strict=True)))
        # Set and not added: a row that stands twice counts once.
        steps[rows] = steps[rows] + 1
    return Solution(params, stopped, steps)
