"""A block tried for a few epochs: which of its runs stay in their stack, and what they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, pairwise, takewhile
from statistics import median
from typing import NoReturn

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from shoal.build.checked_job import job as build
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import reason
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.timing import slower
from shoal.errors import brief
from shoal.optimizers import LBFGS, LevenbergMarquardt
from shoal.record.conclusion import concluded
from shoal.record.loggers.run_logger import nowhere
from shoal.seeding import generators_restored
from shoal.step.exact.guard import InexactError
from shoal.sweeps.block import Block
from shoal.sweeps.costs import RECORDED_SECONDS, STORED_SECONDS

EPOCHS = 4
"""Epochs that are trained; the first is not taken for one."""
SECONDS = 2.0
"""How long those are trained that end by a tolerance, which is early as a rule."""
STOPPING = (LBFGS, LevenbergMarquardt)
"""Optimizers that have tolerances."""
BATCHES = 50
"""Batches of an epoch at most that are trained; one with more takes as much longer."""


@dataclass(frozen=True)
class BlockTime:
    """What a block of a kind takes."""

    begins: float
    """Seconds beside its epochs: until the first one, and what compiling adds to one of them."""
    epoch: float
    """Seconds of an epoch."""
    runs: int = 1
    """How many it was that took so long."""

    def of(self, n: float, block: Block) -> float:
        """Seconds of `n` runs of a block of this kind, from their beginning to their end."""
        trained = self.begins + self.epoch * _epochs(block)
        return trained * n / self.runs + STORED_SECONDS * n


@dataclass(frozen=True)
class TriedRuns:
    """Runs of a block that was tried which are trained alike."""

    places: tuple[int, ...]
    """Theirs in the block."""
    time: BlockTime | str
    """What they take; where that could not be measured, why."""
    apart: str | None = None
    """Why they train alone, where they were to share a stack; then the seconds are those of one of them."""
    early: bool = False
    """Whether they may stop before they have had all of their epochs, which are counted."""


def try_block(block: Block) -> list[TriedRuns]:
    """What of a block is trained alike, and takes how long; nothing of it is kept."""
    every = tuple(range(len(block.assignments)))
    try:
        whole = [build(assignment.config) for assignment in block.assignments]
        jobs = [_short(job) for job in whole]
    except (Exception, SystemExit) as error:  # whatever a user's code does: the sweep will tell of it
        return [TriedRuns(every, brief(error))]
    with generators_restored():
        parts = _divided(jobs, every, block) if block.stacked else [TriedRuns(every, _timed(partial(_alone, jobs[0])))]
    watched = any(isinstance(each, EarlyStopping) for job in whole for each in job.callbacks.values())
    return [replace(part, early=watched or _is_cut_off(part, jobs[0])) for part in parts]


def _is_cut_off(part: TriedRuns, job: Job) -> bool:
    """Whether runs that end by a tolerance had not come to their end when enough was measured."""
    return isinstance(job.optimizer, STOPPING) and isinstance(part.time, BlockTime) and part.time.epoch > 0


def _divided(jobs: Sequence[Job], places: Sequence[int], block: Block) -> list[TriedRuns]:
    """The runs at these places of a stack, as they stay together and as they leave it."""
    some = [jobs[place] for place in places]
    try:
        found = _stack(some, block)
    except InexactError as error:
        one = _timed(partial(_stack, some[:1], block))
        return [TriedRuns(tuple(places), one, f"each by itself: {error}")]
    except (Exception, SystemExit) as error:  # what a hook does that no stack can follow
        found = dict.fromkeys(range(len(some)), reason(error, some[0].module_to_stack()))
    if isinstance(found, BlockTime):
        return [TriedRuns(tuple(places), found)]
    parts = []
    for why in dict.fromkeys(found.values()):
        leaving = tuple(place for number, place in enumerate(places) if found.get(number) == why)
        parts.append(TriedRuns(leaving, _timed(partial(_alone, jobs[leaving[0]])), why))
    left = [place for number, place in enumerate(places) if number not in found]
    return [*parts, *(_divided(jobs, left, block) if left else [])]


def _timed(try_it: Callable[[], BlockTime | Mapping[int, str]]) -> BlockTime | str:
    try:
        found = try_it()
    except (Exception, SystemExit) as error:  # as above
        return brief(error)
    return found if isinstance(found, BlockTime) else next(iter(found.values()))


def _stack(jobs: Sequence[Job], block: Block) -> BlockTime | dict[int, str]:
    """What the runs of a stack take together, or those that would leave it, by their places, with the reasons.

    Raises:
        InexactError: where each would train by itself.
    """
    began = time.perf_counter()
    running = Running([Member.of(job) for job in jobs])
    with nowhere() as logger:
        for member in running.members:
            member.trainer.loggers = [logger]
        return _trained(running, jobs, block, began)


def _trained(running: Running, jobs: Sequence[Job], block: Block, began: float) -> BlockTime | dict[int, str]:
    if apart := unlike_alone(running):
        return apart
    rehearse(running, exact=block.exact)
    if block.halving is None and (why := slower(running)):
        return dict.fromkeys(range(len(jobs)), why)
    times = _OfStack(began + SECONDS)
    with suppress(_EnoughError):
        driver.fit(running, times)
        times.over = True
    found = _measured(times, began, jobs[0])
    last = running.members[-1]
    begins = found.begins + len(jobs) * _concluding(last.job, last.module)
    return replace(found, begins=begins, runs=len(jobs))


def _alone(job: Job) -> BlockTime:
    began = time.perf_counter()
    times = _Ends(began + SECONDS)
    module = job.module()
    lightning.fit(job, module, callbacks=[*job.callbacks.values(), _OfRun(times)])
    found = _measured(times, began, job, of=median)
    begins = found.begins + _concluding(job, module)
    return replace(found, begins=begins, epoch=found.epoch + RECORDED_SECONDS if found.epoch else 0.0)


def _concluding(job: Job, module: pl.LightningModule) -> float:
    """Seconds of what is measured once of a run that has ended, as the baselines that it is compared with."""

    def measured() -> float:
        began = time.perf_counter()
        with suppress(Exception, SystemExit):  # of whatever a task of anybody's measures: the run itself will tell
            concluded(job.presented(module), job, None, 0)
        return time.perf_counter() - began

    # The second time all is loaded that the first run of a sweep loads for the others.
    return min(measured(), measured())


def _measured(times: _Ends, began: float, job: Job, *, of: Callable[[list[float]], float] = min) -> BlockTime:
    """The seconds of an epoch, from when some of them ended: the shortest of these, or what else is taken `of` them."""
    ends = times.ends
    if times.over and isinstance(job.optimizer, STOPPING):
        return BlockTime(ends[-1] - began, 0.0)
    # Of a stack the shortest: a program is compiled, and tried beside the others, within any one, and only once.
    epoch = of([later - earlier for earlier, later in pairwise(ends)] or [ends[0] - began])
    return BlockTime(max(ends[-1] - began - len(ends) * epoch, 0.0), epoch * _left_out(job))


def _short(job: Job) -> Job:
    """The job with a length of a few epochs of a few batches, and without anything that writes."""
    limits = {"limit_train_batches": BATCHES, "limit_val_batches": BATCHES}
    given = {name: job.trainer.get(name) for name in limits}
    limited = {name: most if given[name] in (None, 1.0) else given[name] for name, most in limits.items()}
    length = {} if isinstance(job.optimizer, STOPPING) else {"max_epochs": EPOCHS, "max_steps": -1, "min_epochs": None}
    trainer = {**job.trainer, **limited, **length}
    return replace(job, trainer=trainer, callbacks={}, loggers={})


def _left_out(job: Job) -> float:
    """How much longer an epoch is than what was trained of it."""
    n = len(job.sources()[0]) if job.why_without_sources is None else BATCHES
    return max(1.0, n / BATCHES) if job.trainer["limit_train_batches"] == BATCHES else 1.0


def _epochs(block: Block) -> float:
    """The epochs that a run of the block has; on average, where the worse ones stop."""
    job = build(block.assignments[0].config)
    epochs, steps = job.trainer.get("max_epochs") or -1, job.trainer.get("max_steps") or -1
    n = len(job.sources()[0]) if steps > 0 and job.why_without_sources is None else 1
    whole = min((each for each in (epochs, steps / n if steps > 0 else -1) if each > 0), default=1)
    if block.halving is None:
        return whole
    rungs = takewhile(lambda epoch: epoch < whole, map(block.halving.rung, count()))
    between = pairwise([0, *rungs, whole])
    return sum(
        (later - earlier) / float(block.halving.factor) ** number for number, (earlier, later) in enumerate(between)
    )


class _Ends:
    """When epochs ended."""

    def __init__(self, until: float) -> None:
        """They are enough by then."""
        self.ends: list[float] = []
        self.over = False
        """Whether the training came to its end."""
        self._until = until

    @property
    def enough(self) -> bool:
        """Whether no more are needed."""
        return len(self.ends) >= EPOCHS and time.perf_counter() >= self._until


class _OfRun(pl.Callback):
    """Notes the epochs of a run."""

    def __init__(self, times: _Ends) -> None:
        self.times = times

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times.ends.append(time.perf_counter())
        trainer.should_stop |= self.times.enough

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times.over = not self.times.enough


class _OfStack(_Ends):
    """Those of a stack."""

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        self.ends.append(time.perf_counter())

    def is_asked_to_stop(self) -> bool:
        return self.enough

    def stopped(self, running: Running) -> NoReturn:
        raise _EnoughError


class _EnoughError(Exception):
    """Ends a training of which enough is known."""
