"""The programs of a stack, made ready before it trains: each run gets from them what it gets alone, to the bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from shoal.engines.batch_sources import Source
from shoal.engines.length import n_of
from shoal.engines.stack.gathered import side_by_side
from shoal.engines.stack.moving import HOST
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.steady import steady
from shoal.engines.vectorized.probing.probe import outside
from shoal.engines.vectorized.running import Running
from shoal.seeding import generators_restored
from shoal.step.clock import Clock
from shoal.step.drawn.keys import StepKeys
from shoal.step.exact.guard import InexactError

log = logging.getLogger(__name__)


def rehearse(running: Running, *, exact: bool = True) -> None:
    """Have the programs ready for the stack as it stands; nothing of it changes.

    Raises:
        InexactError: where a run would have other bits than alone, unless `exact` is false: then the stack's notes
            say it.
    """
    running.steps.guard.exact = exact
    if running.rows:
        _rehearse(running, running.stack, running.filled)


def shrink(running: Running) -> bool:
    """Drop the rows of runs that have ended once they are half of the stack; whether any were dropped.

    Where the runs left would have other bits in the smaller stack, it keeps its size.
    """
    left = running.droppable()
    # What did not fit once is not compared again after every epoch.
    if left is None or len(left) in running.unfit:
        return False
    smaller = running.smaller(left)
    if left and not _fits(running, smaller, [running.rows[row] for row in left]):
        running.unfit.add(len(left))
        return False
    running.shrink(left, smaller)
    return True


def _fits(running: Running, smaller: Stack, rows: Sequence[int]) -> bool:
    try:
        _rehearse(running, smaller, [*rows, *[rows[-1]] * (len(smaller) - len(rows))])
    except InexactError as error:
        log.info("the stack keeps its %d rows for the %d runs left: %s", len(running.stack), len(rows), error)
        running.steps.guard.on = True
        return False
    return True


def _rehearse(running: Running, stack: Stack, filled: Sequence[int]) -> None:
    steps, members = running.steps, [running.members[run] for run in filled]
    # A run alone is what the others are compared with; of another device than the CPU no bits are promised.
    steps.guard.on = len(set(filled)) > 1 and stack.device == HOST
    batches = [member.job.sources() for member in members]
    keys = StepKeys([member.job.seed for member in members], stack.device)
    trainer, clock = members[0].job.trainer, Clock(running.epoch, 0, running.step, keys=keys)
    with steady(), generators_restored():
        # For what making it does: the update and the norms are compared then.
        training = steps.training(stack)
        for batch in _kinds([train for train, _ in batches], trainer.get("limit_train_batches"), stack):
            for mapped, given in steps.train.parts(stack.views(), stack.buffers, batch, clock):
                outside(mapped, given, clock, members[0].module)
            steps.train.rehearse(stack.views(), stack.buffers, batch, clock)
            training.rehearse(batch, clock)
        for runs in clock.in_turn([*zip(*(val for _, val in batches), strict=True)]):
            for batch in _kinds(runs, trainer.get("limit_val_batches"), stack):
                outside(steps.val, batch, clock, members[0].module)
                steps.val.rehearse(stack.views(), stack.buffers, batch, clock)
    running.sizes[len(stack)] = None


def _kinds(runs: Sequence[Source], limit: float | int | None, stack: Stack) -> Iterator[Any]:
    """A batch of each size that an epoch has."""
    batches = side_by_side(runs, stack.device)
    yield from batches.kinds(dtype=stack.params.dtype, end=n_of(limit, len(batches)))
