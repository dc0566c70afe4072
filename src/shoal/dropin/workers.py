"""Worker processes that run jobs: copies of the program's own, so that they know all that it knows.

One that dies takes its own jobs along. Those of them that had begun are begun again, each in a process of its own: who
dies then was it.
"""

from __future__ import annotations

import _io
import atexit
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from shoal.dropin.hydra_program import HydraJob
from shoal.dropin.job_returns import FailedError, Packed, failed, packed
from shoal.dropin.one_process import Overseer

_NEW_OBJECTS = 20_000
"""Objects between two looks of the garbage collector at the youngest."""

Work = Callable[[Sequence[HydraJob], Overseer], None]
"""Runs jobs in this process."""


def possible() -> str | None:
    """Why there can be no such processes here, or None."""
    if "fork" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        return "this system has no copies of a process"
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return "the program has begun to use CUDA"
    return None


def run(blocks: Sequence[Sequence[HydraJob]], work: Work, listener: Overseer, *, processes: int, cores: int) -> None:
    """Run blocks of jobs, each in a process, as many at a time as there are `processes`; each has some `cores`."""
    # No more than the program itself uses: threads that wait for each other made its jobs 1.7 times dearer.
    threads = max(1, min(cores, torch.get_num_threads()))
    left = [_Block(list(block)) for block in blocks]
    workers: list[_Worker] = []
    try:
        while left or workers:
            while left and len(workers) < processes:
                workers.append(_Worker(left.pop(0), work, threads, [each.pipe for each in workers]))
            ready = wait([each.pipe for each in workers])
            for worker in [each for each in workers if each.pipe in ready]:
                if not worker.hear(listener):
                    workers.remove(worker)
                    left[:0] = worker.left(listener)
    finally:
        for worker in workers:
            worker.kill()


@dataclass
class _Block:
    """Jobs for a process."""

    jobs: list[HydraJob]
    alone: bool = False
    """Whether its only job was in a process that died."""
    begun: set[int] = field(default_factory=set)


class _Worker:
    """A process with a block, as who started it sees it."""

    def __init__(self, block: _Block, work: Work, threads: int, others: Sequence[Connection]) -> None:
        context = multiprocessing.get_context("fork")
        self.block = block
        self.pipe, theirs = context.Pipe()
        strangers = [self.pipe, *others]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of copying a process that has threads
            self.process = context.Process(target=_serve, args=(theirs, strangers, block.jobs, work, threads))
            self.process.start()
        # A pipe ends only when nobody holds its other end: so the end of the worker is seen.
        theirs.close()

    def hear(self, listener: Overseer) -> bool:
        """Take what it says; False where it has ended."""
        try:
            kind, job, said = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return False
        if kind == "begins":
            self.block.begun.add(job.number)
            listener.begins(job, said)
            with suppress(OSError):  # it has died since, which the next look at the pipe tells
                self.pipe.send(None)
        elif kind == "notes":
            listener.notes(job, said)
        else:
            self.block.jobs.remove(job)
            listener.ends(job, said)
        return True

    def left(self, listener: Overseer) -> Iterator[_Block]:
        """What is left to do where it has died."""
        jobs, begun = self.block.jobs, self.block.begun
        if self.block.alone and jobs and jobs[0].number in begun:
            listener.ends(jobs[0], packed(failed(jobs[0], FailedError(_ending(self.process.exitcode)))))
            return
        for job in jobs:
            if job.number in begun:
                yield _Block([job], alone=True)
        rest = [job for job in jobs if job.number not in begun]
        if rest:
            yield _Block(rest, alone=self.block.alone)

    def kill(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.join()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with {code}"


class _Telling:
    """Tells the process that started this one."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def begins(self, job: HydraJob, path: Path) -> None:
        self.pipe.send(("begins", job, path))
        # Until the ledger has it: a job must be known to have begun before it leaves anything.
        self.pipe.recv()

    def notes(self, job: HydraJob, text: str) -> None:
        self.pipe.send(("notes", job, text))

    def ends(self, job: HydraJob, returned: Packed) -> None:
        self.pipe.send(("ends", job, returned))


def _serve(
    pipe: Connection, strangers: Sequence[Connection], jobs: Sequence[HydraJob], work: Work, threads: int
) -> None:
    """The process's own part."""
    _end_with_parent()
    atexit._clear()  # what is to be done when the other process ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which goes to all of them; the other one ends this one
    # Copies of the ends that the other process holds: kept here, they would outlive it.
    for each in strangers:
        each.close()
    torch.set_num_threads(threads)
    _collect_seldom()
    work(jobs, _Telling(pipe))
    atexit._run_exitfuncs()
    _write_out()


def _collect_seldom() -> None:
    """Have the garbage collector pass over what there was before, and look at what is new less often.

    Setting up a job makes objects by the thousand, of which next to none are garbage, and a look at all takes 0.1 s.
    """
    gc.freeze()
    youngest, *older = gc.get_threshold()
    if youngest:  # 0 is a program's wish for no collector
        gc.set_threshold(max(youngest, _NEW_OBJECTS), *older)


def _write_out() -> None:
    """Write what is not written yet of files that jobs left open, as an interpreter does that ends: a copy does not."""
    # By the type of C, whose subclasses are known at once. What the other process had open is frozen, and its own.
    left: Any = [each for each in gc.get_objects() if issubclass(type(each), _io._IOBase)]
    plain = [each for each in left if type(each).__module__ == "_io"]
    # A compressed file writes its end when it is closed, and into another one.
    ends = [each.close for each in left if type(each).__module__ != "_io"]
    flushes = [each.flush for each in plain]
    for write in (*flushes, *ends, *flushes):
        with suppress(Exception):
            write()


def _end_with_parent() -> None:
    """Have the system end this process when the one that started it is gone."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (AttributeError, OSError):
        return
    # It may have ended before the system was asked, which then sends nothing.
    if os.getppid() != parent:
        os._exit(1)
