"""Training a block where it is: its logs into its runs' files, whatever goes wrong into their run.json."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from shoal.build.checked_job import job as build
from shoal.engines.job import Job
from shoal.engines.launching import present
from shoal.engines.vectorized.probing.failure_words import failure
from shoal.engines.vectorized.steps import Steps
from shoal.errors import DamagedError, ShoalError, UsageError, brief
from shoal.instructions import choose
from shoal.record.checkpoints.checkpoint_file import load
from shoal.record.checkpoints.packed import made_anew, missing
from shoal.record.progress import Progress
from shoal.record.run_of_stack import StackRun
from shoal.record.run_training import train
from shoal.record.stack_faults import UnfitRunsError, UnmappedError, may_be_one_runs_fault
from shoal.record.stack_training import train_stack
from shoal.rundir import RunInfo, Status, read_info, write_info
from shoal.rundir.log import log_through, quiet_logging
from shoal.signals import unheard
from shoal.step.exact.guard import InexactError
from shoal.sweeps.block import (
    Advanced,
    Assignment,
    Block,
    Broken,
    Inexact,
    Noted,
    Report,
    RunEnded,
    Unequipped,
    Unstacked,
)

log = logging.getLogger("shoal")

REPORT_SECONDS = 0.5
"""How often a block says how far it is."""


Known = dict[str, Steps]
"""The steps of the group that this process trained last, by its name."""


def train_block(block: Block, report: Report, known: Known) -> None:
    """Train the runs of a block. What goes wrong in one is reported and never raised."""
    # There is a worker for each core: more threads would only take turns.
    torch.set_num_threads(1)
    with _output_into(block.assignments[0].run.log), quiet_logging():
        log_through(_EveryLog([assignment.run.log for assignment in block.assignments]))
        told = _Told(report)
        log.addHandler(told)
        try:
            if lacking := _lacking(block):
                report(Unequipped(lacking))
                return
            jobs = [_without_progress(build(assignment.config)) for assignment in block.assignments]
            choose(jobs[0].numerics)
            if block.stacked:
                _train_stack(block, jobs, report, known)
            else:
                _train_alone(block.assignments[0], jobs[0], report)
        except BaseException as error:  # a job may raise anything, SystemExit included
            with unheard():  # no signal comes between the end of a run and its record
                if block.stacked and may_be_one_runs_fault(error):
                    report(Broken(failure(error)))
                    return
                for assignment in block.assignments:
                    if not assignment.finished:
                        report(RunEnded(assignment.number, _recorded(assignment, error)))
        finally:
            log.removeHandler(told)


def _lacking(block: Block) -> str:
    """What this machine has none of that the runs are to train on; empty where it has all."""
    asked = (str(each.config["trainer"].get("accelerator", "auto")) for each in block.assignments)
    return next((f"no device for trainer.accelerator={name}" for name in asked if not present(name)), "")


def _train_alone(assignment: Assignment, job: Job, report: Report) -> None:
    heart = _Heartbeat(report)
    job = replace(job, callbacks={**job.callbacks, "heartbeat": heart})
    # One that was stopped before it saved anything that is all there begins anew.
    last = assignment.run.last
    goes_on = assignment.resume and last.exists() and not next(missing(made_anew(load(last), job.module())), None)
    checkpoint = last if goes_on else None
    info = train(job, assignment.run, assignment.info, checkpoint=checkpoint, one_of_many=True)
    report(RunEnded(assignment.number, info))


def _train_stack(block: Block, jobs: Sequence[Job], report: Report, known: Known) -> None:
    runs = [
        StackRun(job, assignment.run, assignment.info, assignment.finished)
        for job, assignment in zip(jobs, block.assignments, strict=True)
    ]
    began = time.monotonic()

    def advanced(fraction: float, best: float | None) -> None:
        nonlocal began
        if time.monotonic() - began >= REPORT_SECONDS:
            began = time.monotonic()
            report(Advanced(fraction, best))

    def ended(place: int, info: RunInfo) -> None:
        report(RunEnded(block.assignments[place].number, info))

    try:
        steps = known.get(block.group) if block.group is not None else None
        steps = train_stack(
            runs,
            state=block.state,
            advanced=advanced,
            ended=ended,
            steps=steps,
            halving=block.halving,
            exact=block.exact,
        )
        # Blocks come group after group: steps of the one before are not asked for again.
        known.clear()
        if block.group is not None:
            known[block.group] = steps
    except UnfitRunsError as error:
        report(Unstacked({block.assignments[place].number: why for place, why in error.reasons.items()}))
    except UnmappedError as error:
        report(Broken(str(error), everyones=True))
    except InexactError as error:
        report(Inexact(str(error)))


class _Heartbeat(pl.Callback):
    """Says now and then how far a run is that trains alone."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._told = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the share of the epochs done."""
        if trainer.max_epochs and trainer.max_epochs > 0 and time.monotonic() - self._told >= REPORT_SECONDS:
            self._told = time.monotonic()
            self.report(Advanced((trainer.current_epoch + 1) / trainer.max_epochs))


def _without_progress(job: Job) -> Job:
    """The sweep has a progress line of its own."""
    kept = {name: each for name, each in job.callbacks.items() if not isinstance(each, Progress)}
    return replace(job, callbacks=kept)


def _recorded(assignment: Assignment, error: BaseException) -> RunInfo:
    """What run.json says of a run that an exception ended; written here where the training could not."""
    with contextlib.suppress(DamagedError):
        info = read_info(assignment.run.info)
        # Its training has recorded the end itself; what another process left there says nothing of this one.
        if info.finished and info.pid == os.getpid():
            return info
    status = Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED
    problem = brief(error)
    info = replace(assignment.info, status=status, reason=problem, pid=os.getpid(), host=socket.gethostname())
    log.error("%s", problem)
    if not isinstance(error, UsageError):  # then another process is at work there
        with contextlib.suppress(ShoalError):
            write_info(assignment.run.info, info)
    return info


class _Told(logging.Handler):
    """Lets the sweep tell what shoal itself warns of: the terminal of a block is the log of its runs."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self.report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:  # an error ends a run, which is told with its reason
            self.report(Noted(record.getMessage()))


class _EveryLog(logging.Handler):
    """Appends to several files, none of which stays open: a stack may have more runs than a process may open files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self.paths = paths

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record) + "\n"
        for path in self.paths:
            with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
                file.write(line)


@contextlib.contextmanager
def _output_into(path: Path) -> Iterator[None]:
    """Let what a job prints go into its log instead of into the sweep's progress."""
    # The files themselves and not sys.stdout: libraries, and processes that a job starts, write there, too.
    kept: list[Any] = [(stream, os.dup(stream)) for stream in (1, 2)]
    for each in (sys.stdout, sys.stderr):
        each.flush()
    # Appending, since what is logged goes into the same file.
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        for stream, _ in kept:
            os.dup2(target, stream)
        yield
    finally:
        for each in (sys.stdout, sys.stderr):
            each.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)
        os.close(target)
