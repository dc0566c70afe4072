"""How long a sweep will take, from a few epochs of each kind of block, trained for it and forgotten."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn

import pytorch_lightning as pl
import torch

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
from shoal.rundir.log import quiet_logging
from shoal.seeding import generators_restored
from shoal.sweeps.block import Block
from shoal.sweeps.costs import START_SECONDS, STORED_SECONDS
from shoal.sweeps.sweep_progress import clock

EPOCHS = 4
"""Epochs that are trained; the first is not taken for one."""
BATCHES = 50
"""Batches of an epoch at most that are trained; one with more takes as much longer."""


@dataclass(frozen=True)
class BlockTime:
    """What a block of a kind takes."""

    begins: float
    """Seconds beside its epochs: until the first one, and what compiling adds to one of them."""
    epoch: float
    """Seconds of an epoch."""
    apart: str | None = None
    """Why its runs train alone, where they were to share a stack; then the seconds are those of one of them."""
    runs: int = 1
    """How many it was that took so long."""

    def of(self, block: Block) -> float:
        """Seconds of a whole block."""
        n = len(block.assignments)
        trained = self.begins + self.epoch * _epochs(build(block.assignments[0].config))
        return trained * n / self.runs + STORED_SECONDS * n


@dataclass(frozen=True)
class Estimate:
    """What a dry run finds out by trying."""

    seconds: float
    """Of the whole sweep; 0 where nothing could be measured."""
    unknown: int
    """Runs whose time is not known."""
    apart: dict[str, list[int]]
    """Jobs that will leave their stacks, by the reason."""
    problems: list[str]

    def in_words(self, processes: int) -> str:
        """The time, for the terminal, and what it leaves out."""
        if not self.seconds:
            return f"how long it takes could not be measured: {'; '.join(self.problems) or 'there is nothing to train'}"
        left_out = f", without {self.unknown} runs: {'; '.join(self.problems)}" if self.unknown else ""
        return f"about {clock(self.seconds)} with {processes} {'process' if processes == 1 else 'processes'}{left_out}"


def estimated(blocks: Sequence[Block], processes: int) -> Estimate:
    """The wall time of these blocks, tried one of each kind; what goes wrong in it is part of the answer."""
    known: dict[str, BlockTime | str] = {}
    total, longest, unknown, apart = 0.0, 0.0, 0, dict[str, list[int]]()
    with _quietly():
        for block in blocks:
            kind = _kind(block)
            if kind not in known:
                known[kind] = _tried(block)
            found = known[kind]
            if isinstance(found, str):
                unknown += len(block.assignments)
                continue
            if found.apart:
                apart.setdefault(found.apart, []).extend(block.numbers)
            each = found.of(block)
            total, longest = total + each, max(longest, each / (len(block.assignments) if found.apart else 1))
    problems = list(dict.fromkeys(each for each in known.values() if isinstance(each, str)))
    # A block is trained by one process: with ever so many the longest takes its time.
    wall = max(total / processes, longest) + START_SECONDS if total else 0.0
    return Estimate(wall, unknown, apart, problems)


def _kind(block: Block) -> str:
    """What must be the same for blocks to take as long as each other, for each of their runs."""
    if block.group is not None:
        # A group is cut into blocks that differ by a run; what is left of an earlier launch may be far smaller.
        return f"{block.group} {len(block.assignments).bit_length()}"
    config = block.assignments[0].config
    # Of runs that train alone: whatever their seed and their rate, a step takes as long.
    return str({**config, "seed": 0, "optimizer": {**(config.get("optimizer") or {}), "lr": 0}})


def _tried(block: Block) -> BlockTime | str:
    try:
        jobs = [_short(build(assignment.config)) for assignment in block.assignments]
        with generators_restored():
            return _stack(jobs) if block.stacked else _alone(jobs[0])
    except (Exception, SystemExit) as error:  # whatever a user's code does: the sweep will tell of it
        return brief(error)


def _stack(jobs: Sequence[Job]) -> BlockTime:
    began = time.perf_counter()
    running = Running([Member.of(job) for job in jobs])
    why = next(iter(unlike_alone(running).values()), None)
    if why is None:
        # What is measured is forgotten: no run needs the bits that it has alone.
        rehearse(running, exact=False)
        why = slower(running)
    if why is not None:
        return replace(_alone(jobs[0]), apart=why)
    times = _Times()
    try:
        driver.fit(running, times)
    except Exception as error:  # what a hook does that no stack can follow
        return replace(_alone(jobs[0]), apart=reason(error, running.members[0].module))
    return replace(_measured(times.ends, began, jobs[0]), runs=len(jobs))


def _alone(job: Job) -> BlockTime:
    began, times = time.perf_counter(), _Ends()
    lightning.fit(job, job.module(), callbacks=[*job.callbacks.values(), times])
    return _measured(times.ends, began, job)


def _measured(ends: Sequence[float], began: float, job: Job) -> BlockTime:
    """The seconds of an epoch, from when some of them ended."""
    # The shortest: a program is compiled, and tried beside the others, within any one of them, and only once.
    epoch = min([later - earlier for earlier, later in pairwise(ends)] or [ends[0] - began])
    return BlockTime(max(ends[-1] - began - len(ends) * epoch, 0.0), epoch * _left_out(job))


def _short(job: Job) -> Job:
    """The job with a length of a few epochs of a few batches, and without anything that writes."""
    limits = {"limit_train_batches": BATCHES, "limit_val_batches": BATCHES}
    given = {name: job.trainer.get(name) for name in limits}
    limited = {name: most if given[name] in (None, 1.0) else given[name] for name, most in limits.items()}
    trainer = {**job.trainer, **limited, "max_epochs": EPOCHS, "max_steps": -1, "min_epochs": None}
    return replace(job, trainer=trainer, callbacks={}, loggers={})


def _left_out(job: Job) -> float:
    """How much longer an epoch is than what was trained of it."""
    n = len(job.sources()[0]) if job.why_without_sources is None else BATCHES
    return max(1.0, n / BATCHES) if job.trainer["limit_train_batches"] == BATCHES else 1.0


def _epochs(job: Job) -> float:
    epochs, steps = job.trainer.get("max_epochs") or -1, job.trainer.get("max_steps") or -1
    n = len(job.sources()[0]) if steps > 0 and job.why_without_sources is None else 1
    bounds = [each for each in (epochs, steps / n if steps > 0 else -1) if each > 0]
    return min(bounds, default=1)


class _Ends(pl.Callback):
    """When the epochs of a run ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ends.append(time.perf_counter())


class _Times:
    """When the epochs of a stack ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        self.ends.append(time.perf_counter())

    def is_asked_to_stop(self) -> bool:
        return False

    def stopped(self, running: Running) -> NoReturn:
        raise AssertionError("nobody asks it to")


@contextmanager
def _quietly() -> Iterator[None]:
    """One thread, as a worker has it, and nothing of what is tried on the terminal."""
    threads, unheard = torch.get_num_threads(), io.StringIO()
    torch.set_num_threads(1)
    try:
        with quiet_logging(), lightning.expected_warnings(), redirect_stdout(unheard), redirect_stderr(unheard):
            yield
    finally:
        torch.set_num_threads(threads)
