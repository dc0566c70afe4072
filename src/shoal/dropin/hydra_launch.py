"""What the launcher does with the jobs it is given: those that are not done yet, in worker processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, setup_globals
from hydra.errors import CompactHydraException

from shoal import machine
from shoal.dropin import one_process, workers
from shoal.dropin.hydra_program import HydraJob, HydraProgram, jobs
from shoal.dropin.job_returns import Packed, unpacked
from shoal.dropin.jobs_done import JobsDone
from shoal.dropin.shared_samples import SharedSamples, shared
from shoal.dropin.when import Stacks
from shoal.errors import suggestion

log = logging.getLogger("hydra.shoal")

_OF_WORKERS = ("shoal.dropin.gathering", "shoal.dropin.lightning_loops", "shoal.dropin.meeting")
"""What jobs are run with, which needs Lightning: imported before there are workers. Each would take seconds for it, and
a copy of a process waits for ever for a module that a thread was importing as it was made."""
FEWEST, MOST = 4, 64
"""Jobs that are begun in a process at a time, where there are so many."""


@dataclass(frozen=True)
class Settings:
    """What the launcher's node says."""

    processes: int | None = None
    stacks: str = Stacks.AUTO
    resume: Any = True

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Settings:
        """Those of a node, to which a command line can add any key.

        Raises:
            CompactHydraException: where there is no such setting, or where a value is none of its values.
        """
        names = [each.name for each in fields(cls)]
        for key in node.keys() - set(names):
            told = f"hydra.launcher.{key}={node[key]}: is no setting of this launcher; {suggestion(key, names)}"
            raise CompactHydraException(told)
        return cls(**node)

    def __post_init__(self) -> None:
        if self.stacks not in list(Stacks):
            raise CompactHydraException(f"hydra.launcher.stacks={self.stacks}: must be one of {', '.join(Stacks)}")
        if not isinstance(self.resume, bool):
            raise CompactHydraException(f"hydra.launcher.resume={self.resume}: must be true or false")
        # A truth value is a number to Python.
        if self.processes is not None and (type(self.processes) is not int or self.processes < 0):
            raise CompactHydraException(
                f"hydra.launcher.processes={self.processes}: must be a number of processes; 0 is the program's own"
            )


def launch(
    program: HydraProgram, overrides: Sequence[Sequence[str]], first: int, settings: Settings
) -> list[JobReturn]:
    """Run these jobs, those excepted that are done; what each returned, in their order."""
    # As Hydra's own launchers begin: this is what knows `${hydra:}` and `${now:}`.
    setup_globals()
    every = jobs(overrides, first)
    program.log_as_launcher()
    ledger = JobsDone.of(program, resume=settings.resume)
    if ledger.differs(every):
        ledger.start(program)
    program.sweep_dir.mkdir(parents=True, exist_ok=True)
    listener = _Listener(ledger, {job.number: ledger.returned(job) for job in every})
    left = [job for job in every if listener.returns[job.number] is None]
    _announce(program, every, left)
    try:
        _run(program, left, listener, settings)
    except BaseException:
        # The same command can go on from here.
        ledger.keep()
        raise
    # Each job has configured logging as its own.
    program.log_as_launcher()
    return [unpacked(data) for job in every if (data := listener.returns[job.number]) is not None]


def _announce(program: HydraProgram, every: Sequence[HydraJob], left: Sequence[HydraJob]) -> None:
    if len(left) < len(every):
        done = len(every) - len(left)
        log.info(f"Going on with the sweep in {program.sweep_dir}: {done} of {len(every)} jobs are done")
    log.info(f"Launching {len(left)} jobs locally")
    for job in left:
        log.info(f"\t#{job.number} : {job.text}")


def _run(program: HydraProgram, left: Sequence[HydraJob], listener: _Listener, settings: Settings) -> None:
    """Run the jobs where and how they can."""
    if program.has_callbacks:
        log.info("The jobs run one by one: hydra.callbacks are to see them so")
        one_process.one_by_one(program, left, listener)
        return
    wanted = machine.cores() if settings.processes is None else settings.processes
    work = partial(_work, program, Stacks(settings.stacks), max(wanted, 1), None)
    reason = workers.possible()
    if reason or not wanted:
        if reason:
            log.info(f"The jobs run in one process: {reason}")
        work(left, listener)
        return
    blocks = shared_out(left, wanted)
    # Fewer blocks than processes: those that there are have more cores each.
    n = min(wanted, len(blocks))
    for name in _OF_WORKERS:
        import_module(name)
    with shared() if n > 1 else nullcontext() as samples:
        work = partial(_work, program, Stacks(settings.stacks), wanted, samples)
        workers.run(blocks, work, listener, processes=wanted, cores=machine.cores() // max(n, 1))


def shared_out(jobs: Sequence[HydraJob], processes: int) -> list[list[HydraJob]]:
    """Blocks of neighbors, for each process one or several."""
    size = max(FEWEST, min(MOST, -(-len(jobs) // processes)))
    return [list(jobs[place : place + size]) for place in range(0, len(jobs), size)]


def _work(
    program: HydraProgram,
    when: Stacks,
    processes: int,
    samples: SharedSamples | None,
    jobs: Sequence[HydraJob],
    listener: one_process.Overseer,
) -> None:
    """Run jobs in this process; `samples` are those that several processes have in common."""
    from shoal.dropin.gathering import Gathering  # late, as `_OF_WORKERS`
    from shoal.dropin.lightning_loops import Trainings, patched
    from shoal.dropin.meeting import Meeting

    meeting = Meeting(processes, when)
    with patched(Trainings(Gathering(at_once=len(jobs) > 1, shared=samples))):
        one_process.run(program, jobs, listener, meeting.together)


@dataclass
class _Listener:
    """Keeps the ledger."""

    ledger: JobsDone
    returns: dict[int, bytes | None]
    """What each job returned, packed."""

    def begins(self, job: HydraJob, path: Path) -> None:
        self.ledger.clear(job)
        self.ledger.begins(job, path)

    def notes(self, job: HydraJob, text: str) -> None:
        log.info(f"\t#{job.number} {text}")

    def ends(self, job: HydraJob, returned: Packed) -> None:
        self.returns[job.number] = returned.data
        self.ledger.ends(job, returned.data)
        for text in returned.notes:
            self.notes(job, text)
