"""What a launcher remembers of a job, of which there may be a hundred thousand."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shoal.rundir import JobInfo, RunInfo, Status, SweepDir, SweepInfo
from shoal.rundir.layout import job_name
from shoal.sweeps.block import Assignment, Block, RunEnded
from shoal.sweeps.execution import Execution
from shoal.sweeps.executor import Executor, Happening, Take, Waiting, Watch
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.serving import Finished
from shoal.sweeps.sweep_progress import SweepProgress

N = 320
MOST = 7_000
"""Bytes a job."""
RUN = RunInfo(
    id="run",
    task="parabola",
    status=Status.RUNNING,
    engine="vectorized",
    seed=0,
    command=["train.py", "-m", "task=parabola", "seed=range(100000)"],
    choices={"task": "parabola", "model": "mlp"},
    versions={"torch": "2.13.0"},
    hardware={"cores": 2, "gpus": []},
)


class Told(Executor):
    """Says of every run that it is completed, in the words of a worker elsewhere."""

    def run(self, take: Take, watch: Watch, waiting: Waiting) -> Iterator[Happening]:
        while (block := take()) is not None:
            for each in block.assignments:
                final = {f"val/metric{i}": each.number + i / 8 for i in range(8)}
                told = RunEnded(each.number, replace(each.info, status=Status.COMPLETED, final=final))
                yield block, pickle.loads(pickle.dumps(told))
            yield block, Finished()

    def stop(self, number: int) -> None: ...

    def kill(self) -> None: ...


def launched(path: Path, n: int) -> Execution:
    """A sweep of so many jobs, accounted for."""
    jobs = [JobInfo(i, job_name(i), f"{i:064x}", {"seed": i}, [f"seed={i}"]) for i in range(n)]
    folder = SweepDir(path)
    ledger = Ledger(folder, SweepInfo(id="sweep", task="parabola", status=Status.RUNNING, jobs=jobs))
    runs = [Assignment(job.number, folder.run(job).path, {}, replace(RUN, differs=job.differs)) for job in jobs]
    blocks = [Block(tuple(runs[first : first + 16]), stacked=True) for first in range(0, n, 16)]
    with SweepProgress(n) as progress:
        execution = Execution(Told(), ledger, progress, begin=lambda block: None)
        execution.run(blocks)
    return execution


def test_a_job_costs_its_launcher_less_than_seven_kilobytes(tmp_path: Path) -> None:
    launched(tmp_path / "first", 16)  # what is imported late is no job's
    tracemalloc.start()
    try:
        execution = launched(tmp_path / "second", N)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(execution.results) == N
    assert kept / N < MOST
