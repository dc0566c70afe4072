"""Jobs in one process: each begins, and those that wait for each other are let go on together."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from hydra.core.utils import JobReturn

from shoal.dropin.hydra_program import HydraJob, HydraProgram, directory
from shoal.dropin.job_returns import Packed, failed, packed
from shoal.dropin.routines import Routine, signals_left_alone
from shoal.seeding import seed_global


@runtime_checkable
class Overseer(Protocol):
    """Who wants to know what becomes of jobs."""

    def begins(self, job: HydraJob, path: Path) -> None:
        """A job is about to write into this directory."""

    def notes(self, job: HydraJob, text: str) -> None:
        """There is something to say of how a job runs."""

    def ends(self, job: HydraJob, returned: Packed) -> None:
        """A job is done."""


Together = Callable[[Sequence[Routine]], None]
"""Does for jobs that all wait what they wait for, and resumes each of them."""


def run(program: HydraProgram, jobs: Sequence[HydraJob], listener: Overseer, together: Together) -> None:
    """Run jobs, in their order as far as they do not wait for each other."""
    with signals_left_alone(), _past_left_alone():
        # Each as far as its first epoch that can be shared, where it waits; one that waits for none ends here.
        begun = [(job, _begun(program, job, listener)) for job in jobs]
        while waiting := [routine for _, routine in begun if routine.waits_for is not None]:
            together(waiting)
            for job, routine in begun:
                _tell(job, routine, listener)


@contextmanager
def _past_left_alone() -> Iterator[None]:
    """Have the garbage collector pass over what there was before: modules are most of it, and no garbage."""
    known = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        # A worker has begun with it, and looks at its end at what has come since.
        if not known:
            gc.unfreeze()


def one_by_one(program: HydraProgram, jobs: Sequence[HydraJob], listener: Overseer) -> None:
    """Run jobs in their order and in this thread, as Hydra's own launcher does."""
    for job in jobs:
        config = program.composed(job)
        listener.begins(job, directory(config))
        listener.ends(job, packed(program.run(config)))
        # The job has configured logging as its own.
        program.log_as_launcher()


def _begun(program: HydraProgram, job: HydraJob, listener: Overseer) -> Routine:
    def function() -> JobReturn:
        if job.number:  # one that does not seed is to draw other numbers than those before it
            seed_global(torch.initial_seed(), job.number)
        config = program.composed(job)
        listener.begins(job, directory(config))
        try:
            return program.run(config)
        finally:
            # Hydra's own launcher does it as the next job configures logging, and that is another world here.
            for handler in [each() for each in logging._handlerList]:  # type: ignore[attr-defined]
                if handler is not None:
                    handler.flush()

    routine = Routine(function)
    routine.resume()
    _tell(job, routine, listener)
    return routine


def _tell(job: HydraJob, routine: Routine, listener: Overseer) -> None:
    """Say what is new of a job."""
    for text in routine.notes:
        listener.notes(job, text)
    routine.notes.clear()
    if routine.waits_for is None and not routine.told:
        routine.told = True
        listener.ends(job, packed(failed(job, routine.error) if routine.error else routine.result))
