"""Jobs of a sweep that raise, die or diverge, and that their neighbors do not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.rundir import read_info
from sweeps import info, runs, same, statuses, sweep

pytestmark = pytest.mark.usefixtures("undrawn")

JOBS = '''
import multiprocessing, os, sys, time
from dataclasses import dataclass
import torch
from shoal.tasks import Parabola

@dataclass(frozen=True, kw_only=True)
class Fragile(Parabola):
    """A parabola that breaks when its samples are drawn."""
    how: str = "not"
    seconds: float = 0.0
    def data(self):
        time.sleep(self.seconds)
        if multiprocessing.parent_process() and not os.path.exists("well"):
            match self.how:
                case "raise": raise ValueError("no samples today")
                case "exit": sys.exit(3)
                case "die": os._exit(9)
                case "kill": os.kill(os.getpid(), 9)
        return super().data()
'''


FRAGILE = ["task._target_=fragile.Fragile", "+task.seconds=0"]


@pytest.fixture
def fragile(workdir: Path) -> None:
    (workdir / "fragile.py").write_text(JOBS)


@pytest.mark.usefixtures("fragile")
def test_jobs_that_raise_exit_or_are_killed_do_not_hurt_the_others() -> None:
    found = sweep(*FRAGILE, "+task.how=not,raise,exit,die,kill", "engine=lightning", "seed=0,1")

    assert found.returncode == 1
    assert statuses() == ["completed"] * 2 + ["failed"] * 8
    reasons = [job.reason or "" for job in info().jobs[2::2]]
    assert reasons == [
        "ValueError: no samples today",
        "SystemExit: 3",
        "its process ended with exit code 9",
        "its process was killed by SIGKILL",
    ]
    assert read_info(runs()[9].info).reason == reasons[3]
    assert "failed  job 8" in found.stderr

    Path("well").touch()
    again = sweep(*FRAGILE, "+task.how=not,raise,exit,die,kill", "engine=lightning", "seed=0,1")
    retried = sweep(
        *FRAGILE, "+task.how=not,raise,exit,die,kill", "engine=lightning", "seed=0,1", "sweep.retry_failed=true"
    )

    assert again.returncode == 1
    assert (retried.returncode, statuses()) == (0, ["completed"] * 10)


@pytest.mark.usefixtures("fragile")
def test_a_stack_whose_process_dies_costs_only_the_run_that_killed_it() -> None:
    found = sweep(*FRAGILE, "+task.how=not,kill", "seed=0,1,2")

    assert found.returncode == 1
    assert statuses() == ["completed"] * 3 + ["failed"] * 3


@pytest.mark.usefixtures("fragile")
def test_fail_fast_stops_at_the_first_failure() -> None:
    found = sweep(*FRAGILE, "+task.how=raise,not", "seed=range(4)", "engine=lightning", "sweep.fail_fast=true")

    assert found.returncode == 1
    assert "failed" in statuses()
    assert None in statuses()


def test_a_diverging_run_leaves_its_neighbors_bitwise_alone(workdir: Path) -> None:
    found = sweep("optimizer=sgd", "optimizer.lr=1e-2,1e9", "seed=0,1")
    sweep("optimizer=sgd", "optimizer.lr=1e-2", "seed=0,1", "hydra.sweep.dir=other")

    assert found.returncode == 1
    assert statuses() == ["completed", "completed", "diverged", "diverged"]
    assert all(same(mine, theirs) for mine, theirs in zip(runs()[:2], runs("other"), strict=True))
