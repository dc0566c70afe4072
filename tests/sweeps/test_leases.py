"""Which starts of a block are believed, without any worker: what a launcher does as it hears that one is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.rundir import JobInfo, RunInfo, Status, SweepDir, SweepInfo, read_info, write_info
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.execution import Execution
from shoal.sweeps.executor import Executor, Happening, Lost, Take, Waiting, Watch
from shoal.sweeps.leases import Leases
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.sweep_progress import SweepProgress

INFO = RunInfo(id="r", task="parabola", status=Status.RUNNING, engine="lightning", seed=0)


class Losing(Executor):
    """Loses every worker; `wrote` is the run.json of each before that."""

    def __init__(self, wrote: RunInfo | None = None) -> None:
        self.wrote = wrote
        self.starts: list[str | None] = []

    def run(self, take: Take, watch: Watch, waiting: Waiting) -> Iterator[Happening]:
        while (block := take()) is not None:
            (one,) = block.assignments
            self.starts.append(one.info.start)
            if self.wrote:
                write_info(one.run.info, replace(self.wrote, start=self.wrote.start or one.info.start))
            yield block, Lost("gone")

    def stop(self, number: int) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError


@pytest.fixture
def run(tmp_path: Path) -> Assignment:
    path = tmp_path / "0000"
    path.mkdir()
    return Assignment(0, path, {"trainer": {"max_epochs": 1}}, INFO)


def execution(executor: Executor, run: Assignment) -> Execution:
    folder = SweepDir(run.path.parent)
    info = SweepInfo(id="s", task="parabola", status=Status.RUNNING, jobs=[JobInfo(0, "0000", "hash")])
    ledger, leases = Ledger(folder, info), Leases(folder, 3)
    return Execution(executor, ledger, SweepProgress(1), begin=lambda block: None, leases=leases)


def test_a_run_has_failed_once_four_workers_are_lost_with_it(run: Assignment) -> None:
    executor = Losing()
    found = execution(executor, run)

    found.run([Block((run,))])

    assert executor.starts == ["3-1", "3-2", "3-3", "3-4"]
    assert (found.results[0].status, found.results[0].reason) == (Status.FAILED, "gone")


def test_a_run_that_its_lost_worker_had_completed_stands(run: Assignment) -> None:
    executor = Losing(replace(INFO, status=Status.COMPLETED, ended="now"))
    found = execution(executor, run)

    found.run([Block((run,))])

    assert executor.starts == ["3-1"]
    assert found.results[0].status is Status.COMPLETED


def test_what_another_start_wrote_into_run_json_is_not_believed(run: Assignment) -> None:
    executor = Losing(replace(INFO, status=Status.COMPLETED, ended="now", start="2-9"))
    found = execution(executor, run)

    found.run([Block((run,))])

    assert found.results[0].status is Status.FAILED
    assert read_info(run.run.info).status is Status.FAILED


def test_leases_that_an_earlier_launch_has_left_are_taken_away(run: Assignment) -> None:
    folder = SweepDir(run.path.parent)
    write_info(run.run.info, INFO)
    left = Leases(folder, 1).granted(Block((run,)))
    held = run.run.info.open("a")

    Leases(folder, 2).revoke_all()
    with held:
        held.write("what a process that was cut off had open")

    assert left.lease is not None
    assert not left.lease.exists()
    assert read_info(run.run.info) == INFO
    assert [path.name for path in folder.path.iterdir()] == ["0000"]
