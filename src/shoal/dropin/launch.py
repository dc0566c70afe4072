"""What the launcher does with the jobs it is given: those that are not done yet, in worker processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, setup_globals

from shoal import machine
from shoal.dropin import running, workers
from shoal.dropin.ledger import Ledger
from shoal.dropin.program import Job, Program, jobs
from shoal.dropin.returned import packed, unpacked

log = logging.getLogger("hydra.shoal")

MOST = 64
"""Jobs that are begun in a process at a time."""


@dataclass(frozen=True)
class Settings:
    """What the launcher's node says."""

    processes: int | None = None
    resume: bool = True


def launch(program: Program, overrides: Sequence[Sequence[str]], first: int, settings: Settings) -> list[JobReturn]:
    """Run these jobs, those excepted that are done; what each returned, in their order."""
    setup_globals()
    every = jobs(overrides, first)
    program.log_as_launcher()
    ledger = Ledger.of(program, resume=settings.resume)
    if ledger.differs(every):
        ledger.start(program)
    program.sweep_dir.mkdir(parents=True, exist_ok=True)
    listener = _Listener(ledger, {job.number: ledger.returned(job) for job in every})
    left = [job for job in every if listener.returns[job.number] is None]
    _announce(program, every, left)
    try:
        _run(program, left, listener, settings)
    except BaseException:
        ledger.keep()
        raise
    program.log_as_launcher()
    return [unpacked(data) for job in every if (data := listener.returns[job.number]) is not None]


def _announce(program: Program, every: Sequence[Job], left: Sequence[Job]) -> None:
    if len(left) < len(every):
        done = len(every) - len(left)
        log.info(f"Going on with the sweep in {program.sweep_dir}: {done} of {len(every)} jobs are done")
    log.info(f"Launching {len(left)} jobs locally")
    for job in left:
        log.info(f"\t#{job.number} : {job.text}")


def _run(program: Program, left: Sequence[Job], listener: _Listener, settings: Settings) -> None:
    """Run the jobs where and how they can."""
    if program.has_callbacks:
        log.info("The jobs run one by one: hydra.callbacks are to see them so")
        running.one_by_one(program, left, listener)
        return
    work = partial(_work, program)
    wanted = machine.cores() if settings.processes is None else settings.processes
    reason = workers.possible()
    if reason or not wanted:
        if reason:
            log.info(f"The jobs run in one process: {reason}")
        work(left, listener)
        return
    blocks = shared_out(left, wanted)
    n = min(wanted, len(blocks))
    workers.run(blocks, work, listener, processes=wanted, threads=max(1, machine.cores() // max(n, 1)))


def shared_out(jobs: Sequence[Job], processes: int) -> list[list[Job]]:
    """Blocks of neighbors, for each process one or several."""
    size = max(1, min(MOST, -(-len(jobs) // max(processes, 1))))
    return [list(jobs[place : place + size]) for place in range(0, len(jobs), size)]


def _work(program: Program, jobs: Sequence[Job], listener: running.Listener) -> None:
    running.run(program, jobs, listener, lambda waiting: None)


@dataclass
class _Listener:
    """Keeps the ledger."""

    ledger: Ledger
    returns: dict[int, bytes | None]
    """What each job returned, packed."""

    def begins(self, job: Job, path: Path) -> None:
        self.ledger.clear(job)
        self.ledger.begins(job, path)

    def notes(self, job: Job, text: str) -> None:
        log.info(f"\t#{job.number} {text}")

    def ends(self, job: Job, returned: JobReturn) -> None:
        data, lost = packed(returned)
        self.returns[job.number] = data
        self.ledger.ends(job, data)
        if lost:
            self.notes(job, lost)
        if returned.status is JobStatus.FAILED:
            error = returned._return_value
            self.notes(job, f"failed: {type(error).__name__}: {error}")
