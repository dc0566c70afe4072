"""What a launcher costs by itself: many jobs and many workers that train nothing, answer late and die at random.

    python benchmarks/launcher.py [NUMBER OF JOBS [NUMBER OF WORKERS]]

Blocks of 16 runs are given out and accounted for as in a sweep elsewhere: directories, leases, sweep.json, the line of
progress. Each worker is a connection to one process that plays them all: it answers a block after a random time, and
one block in fifty ends it. Told are the launcher's processor time a job and its memory, and whether every job is
accounted for. What comes before, composing and checking the jobs, is in benchmarks/sweep.py.
"""

from __future__ import annotations

import heapq
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any

from shoal.rundir import JobInfo, RunInfo, Status, SweepDir, SweepInfo, read_sweep
from shoal.rundir.layout import job_name
from shoal.sweeps.block import Assignment, Block, RunEnded
from shoal.sweeps.execution import Execution
from shoal.sweeps.executor import Workers
from shoal.sweeps.hosts import Command
from shoal.sweeps.leases import Leases
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.links import Link
from shoal.sweeps.serving import BLOCK, Finished, Hello
from shoal.sweeps.sweep_progress import SweepProgress

DEATHS = 0.02
"""Of the blocks that are begun."""
SECONDS = 0.05
"""A block takes on average."""


@dataclass(frozen=True, kw_only=True)
class Crowd(Command):
    """Workers that are played by one process; the command is its address."""

    def link(self, number: int) -> Link:
        return _Played(self.command[0])


class _Played(Link):
    """A connection to the process that plays the workers."""

    def __init__(self, address: str) -> None:
        self.inbox = self.outbox = Client(address, "AF_UNIX")

    def ending(self) -> str:
        return "its process was killed by SIGKILL"

    def kill(self) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self.inbox.close()

    def close(self, *, patiently: bool) -> None:
        self.hang_up()


def play(address: str) -> None:
    """Be every worker, until there is none."""
    chance = random.Random(0)
    due: list[tuple[float, int, Connection, list[Any] | None]] = []
    with Listener(address, "AF_UNIX", backlog=512) as listener:
        door: Any = listener._listener._socket  # type: ignore[attr-defined]
        workers: set[Connection] = set()
        n = 0
        while True:
            pause = max(0.0, due[0][0] - time.monotonic()) if due else None
            for ready in wait([door, *workers], pause):
                if ready is door:
                    worker = listener.accept()
                    workers.add(worker)
                    with suppress(BrokenPipeError):  # the launcher has no work left for it, and has let it go
                        worker.send(Hello.here())
                    continue
                assert isinstance(ready, Connection)
                try:
                    frame = ready.recv_bytes()
                except (EOFError, OSError):
                    workers.discard(ready)
                    continue
                if frame.startswith(BLOCK):
                    dies = chance.random() < DEATHS
                    told = None if dies else _answers(pickle.loads(frame[1:]))
                    n += 1
                    heapq.heappush(due, (time.monotonic() + chance.expovariate(1 / SECONDS), n, ready, told))
            while due and due[0][0] <= time.monotonic():
                _, _, worker, answers = heapq.heappop(due)
                for answer in answers or ():
                    worker.send(answer)
                if answers is None:
                    workers.discard(worker)
                    worker.close()


def _answers(block: Block) -> list[Any]:
    ended = [
        RunEnded(each.number, replace(each.info, status=Status.COMPLETED, final={"val/loss": each.number % 97 / 97}))
        for each in block.assignments
    ]
    return [*ended, Finished()]


def main() -> None:
    """Play a sweep, and print what it costs."""
    n, workers = [*map(int, sys.argv[1:]), *(100_000, 256)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/crowd"
        crowd = subprocess.Popen([sys.executable, __file__, "--play", address])
        while not Path(address).exists():
            time.sleep(0.05)
        try:
            account(n, Crowd(command=[address], n=workers), SweepDir(Path(folder) / "sweep"))
        finally:
            crowd.kill()
            crowd.wait()


def account(n: int, hosts: Crowd, folder: SweepDir) -> None:
    """Give so many jobs out, and account for them."""
    folder.path.mkdir()
    jobs = [JobInfo(each, job_name(each), f"{each:064x}", {"seed": each}, [f"seed={each}"]) for each in range(n)]
    ledger = Ledger(folder, SweepInfo(id="sweep", task="parabola", status=Status.RUNNING, jobs=jobs))
    blocks = [Block(tuple(map(assigned(folder), some)), stacked=True) for some in batched(jobs, 16)]
    held, began = _memory(), _seconds()
    with SweepProgress(n) as progress:
        execution = Execution(Workers(hosts), ledger, progress, begin=begin, leases=Leases(folder, 1))
        execution.run(blocks)
    ledger.close(Status.COMPLETED)
    spent = _seconds() - began
    found = Counter(str(job.status) for job in read_sweep(folder.info).jobs)
    print(f"\n{n:,} jobs, {hosts.n} workers: {dict(found)}")
    print(f"{spent:.1f} s of processor time, {1000 * spent / n:.3f} ms a job")
    print(f"memory: {held:,.0f} MiB with all jobs known, {_memory():,.0f} MiB at most")


def assigned(folder: SweepDir) -> Callable[[JobInfo], Assignment]:
    """What a block has of a job."""
    info = RunInfo(id="run", task="parabola", status=Status.RUNNING, engine="lightning", seed=0)
    config = {"trainer": {"max_epochs": 1}}
    return lambda job: Assignment(job.number, folder.run(job).path, config, replace(info, differs=job.differs))


def begin(block: Block) -> None:
    """Make the directories of a block."""
    for each in block.assignments:
        each.path.mkdir(exist_ok=True)


def batched(jobs: Sequence[JobInfo], n: int) -> Iterator[Sequence[JobInfo]]:
    """So many at a time."""
    return (jobs[first : first + n] for first in range(0, len(jobs), n))


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--play"]:
        play(sys.argv[2])
    else:
        main()
