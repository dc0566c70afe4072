"""Which jobs a sweep has, and that a wrong one is told before anything trains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from shoal.sweeps import block_training
from sweeps import info, runs, same, statuses, sweep

pytestmark = pytest.mark.usefixtures("undrawn")


def refused(arguments: Sequence[str]) -> str:
    found = sweep(*arguments)
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) <= 3
    return found.stderr


def test_zipped_values_are_paired_and_listed_jobs_are_taken_as_they_are(workdir: Path) -> None:
    sweep("optimizer.lr=1e-3,1e-2", "seed=5,6", "sweep.zip=[optimizer.lr,seed]")
    listed = "sweep.jobs=[{optimizer.lr:0.1,seed:1},{optimizer.lr:0.2,model.hidden:[3,3]}]"
    sweep(listed, "hydra.sweep.dir=listed")

    assert [job.differs for job in info().jobs] == [
        {"optimizer.lr": 0.001, "seed": 5},
        {"optimizer.lr": 0.01, "seed": 6},
    ]
    assert [job.differs for job in info("listed").jobs] == [
        {"model.hidden": [4], "optimizer.lr": 0.1, "seed": 1},
        {"model.hidden": [3, 3], "optimizer.lr": 0.2, "seed": 0},
    ]


def test_random_samples_are_drawn_from_distributions_for_every_seed(workdir: Path) -> None:
    drawn = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.activation=relu,tanh", "seed=0,1"]
    sweep(*drawn, "sweep.n_samples=3")
    few = [job.differs for job in info().jobs]
    sweep(*drawn, "sweep.n_samples=4")

    assert len(few) == 6
    assert all(1e-4 < differs["optimizer.lr"] < 1e-1 for differs in few)
    assert len({differs["optimizer.lr"] for differs in few}) == 3
    assert [job.differs for job in info().jobs][:6] == few
    assert json.loads(Path("sweep/sweep.json").read_text())["varies"] == ["optimizer.lr", "model.activation", "seed"]


def test_adding_values_keeps_what_is_done_and_another_sweep_is_refused(workdir: Path) -> None:
    repeated = sweep("seed=0,1,1")
    first = runs()[0].info.stat().st_mtime_ns

    more = sweep("seed=0,1,2", "optimizer.lr=1e-3,1e-2")
    other = sweep("seed=0,1", "task.noise=0.5")

    assert "1 of 3 jobs is as one before: they share a run" in repeated.stdout
    assert (more.returncode, statuses()) == (0, ["completed"] * 6)
    assert runs()[0].info.stat().st_mtime_ns == first
    assert other.returncode == 2
    assert "task.noise: 0.03 -> 0.5" in other.stderr


def test_a_wrong_job_is_told_before_anything_trains(workdir: Path) -> None:
    found = sweep("optimizer.lr=1e-3,-1,1e-2")

    assert found.returncode == 2
    assert found.stderr.splitlines()[0] == (
        "error: optimizer.lr=-1 (job 1, command line): must be a number greater than 0"
    )
    assert not (workdir / "sweep").exists()


def test_a_sweep_of_no_jobs_or_of_ten_million_is_refused_with_the_count(workdir: Path) -> None:
    assert "the sweep has 0 jobs" in refused(["seed=range(0)"])
    assert "10,000,000 jobs (seed 10000000)" in refused(["seed=range(10000000)"])


def test_a_dry_run_shows_jobs_stacks_reasons_and_time_and_writes_nothing(workdir: Path) -> None:
    found = sweep("seed=0,1", "engine=auto,lightning", "sweep.dry_run=true")

    assert found.returncode == 0
    assert "0003  seed=1 engine=lightning" in found.stdout
    assert "stack: 0, 2" in found.stdout
    assert "alone: 1, 3: engine=lightning" in found.stdout
    assert "about 0:0" in found.stdout
    assert list(workdir.iterdir()) == []


def test_a_process_that_trains_for_two_sweeps_traces_the_steps_of_each(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["seed=0,1", "sweep.processes=0"]
    sweep(*small, "model.activation=relu", "hydra.sweep.dir=alone")
    known: block_training.Known = {}
    train_block = block_training.train_block
    monkeypatch.setattr(block_training, "train_block", lambda block, report, _: train_block(block, report, known))

    for activation in ("tanh", "relu"):  # of equal shapes, so that steps of the one would do for the other
        sweep(*small, f"model.activation={activation}", f"hydra.sweep.dir={activation}")

    assert len(known) == 1
    assert all(same(mine, own) for mine, own in zip(runs("relu"), runs("alone"), strict=True))
