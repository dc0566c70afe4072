"""Whether the runs of a stack train in it as they do alone: its first batches are tried before it trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shoal.engines.length import n_of
from shoal.engines.stack.gathered import for_validation, side_by_side
from shoal.engines.stack.steady import steady
from shoal.engines.vectorized.hooks.told import told
from shoal.engines.vectorized.probing.failure_words import reason
from shoal.engines.vectorized.probing.probe import probe
from shoal.engines.vectorized.running import Running
from shoal.step.clock import Clock
from shoal.step.outward import forgetting
from shoal.step.reach import Reach
from shoal.step.unfit import CannotStackError

LOOKED_AT = 16
"""Runs whose second batch is looked at: what a step does there by the number of the batch it does in all of them."""

LONG = 1000
"""Epochs that a training is taken to have of which nothing says how long it is."""


def unlike_alone(running: Running) -> dict[int, str]:
    """The reason for each run that would not train in this stack as it does alone, by its place in the members.

    Of rounding this says nothing: see `rehearse`.
    """
    left = running.steps.captured["train"].left
    left.settled = False
    running.outside = Reach(running.members[0].module, keeps=True)
    try:
        with forgetting():
            found = _unlike(running)
    except CannotStackError as error:  # of a hook, or of batches that cannot lie side by side
        found = dict.fromkeys(range(len(running.members)), reason(error, running.members[0].module))
    looked_at = told(running.members[0], left.untold)
    if looked_at and not found:
        left.told |= looked_at
        running.steps.forget()
    left.settled = not found
    if found:
        # Also what steps have kept there while they were mapped: whoever trains alone next would meet it.
        running.outside.put_back()
    return found


def _later(running: Running, n: int) -> Iterator[Clock]:
    """Later times, of `n` batches an epoch: from one of them on a setting of each run's own may count."""
    last = (running.horizon.epochs or LONG) - 1
    steps = -(-n // running.accumulate)
    for epoch in sorted({1, last // 2, last} - {0}):
        yield Clock(epoch, n - 1, epoch * steps + (n - 1) // running.accumulate, keys=running.keys)


def _unlike(running: Running) -> dict[int, str]:
    # Bits are compared once it is known which runs stay (`rehearse`).
    running.steps.guard.on = False
    # Hooks of the beginning may change weights and attributes: the first step comes after them.
    running.begin_epoch()
    modules, dtype = [member.module for member in running.members], running.stack.params.dtype
    some = range(0, len(modules), -(-len(modules) // LOOKED_AT))
    batches = [running.members[run].job.sources() for run in running.filled]
    settings = running.members[0].job.trainer
    with steady():
        device = running.stack.device
        train = side_by_side([train for train, _ in batches], device)
        left = running.steps.captured["train"].left
        # A second batch, since what a step does by the batch's number is frozen at the first one.
        n = min(2, n_of(settings.get("limit_train_batches"), len(train)))
        for number, batch in enumerate(train.epoch(0, end=n, dtype=dtype)):
            rows, clock = some if number else None, Clock(0, number, number // running.accumulate, keys=running.keys)
            found = _probe(running, batch, clock, rows)
            if found:
                return found
            # Where no step looks at the time, there is no later one that does something else.
            for later in _later(running, len(train)) if clock.read and number + 1 == n else ():
                found = _probe(running, batch, later)
                # Only some: what all of them meet there, as what a hook has not set yet, says nothing of a stack.
                if 0 < len(found) < len(modules):
                    return found
        of_training = set(left.scratch)
        # As before Lightning's sanity check.
        with running.hooks_tried("on_validation_start", "on_validation_epoch_start"):
            found = _unlike_in_validation(running, some)
        if found:
            return found
        # What a validation sets, the steps of the training must not look at: they were taken without knowing that.
        if left.scratch > of_training:
            running.steps.forget()
            (batch,), clock = train.epoch(0, end=1, dtype=dtype), Clock(keys=running.keys)
            return _probe(running, batch, clock, some)
    return {}


def _probe(running: Running, batch: Any, clock: Clock, rows: Sequence[int] | None = None) -> dict[int, str]:
    """That of a training step, part by part."""
    stack, modules = running.stack, [member.module for member in running.members]
    for mapped, given in running.steps.train.parts(stack.views(), stack.buffers, batch, clock):
        found = probe(stack, mapped, modules, given, clock, rows=rows)
        if found:
            return found
    return {}


def _unlike_in_validation(running: Running, some: Sequence[int]) -> dict[int, str]:
    """The same of the validation alone; `some` are the runs whose second batch is looked at."""
    modules, dtype = [member.module for member in running.members], running.stack.params.dtype
    sources = [running.members[run].job.sources() for run in running.filled]
    limit, clock = running.members[0].job.trainer.get("limit_val_batches"), Clock(keys=running.keys)
    for val in clock.in_turn(for_validation([val for _, val in sources], running.stack.device)):
        for number, batch in enumerate(val.epoch(0, end=min(2, n_of(limit, len(val))), dtype=dtype)):
            clock.set(0, number, 0)
            found = probe(running.stack, running.steps.val, modules, batch, clock, rows=some if number else None)
            if found:
                return found
    return {}
