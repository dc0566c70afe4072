"""What a search with Optuna says before anything trains: what it would do, or why it cannot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from searches import LR, refused, searched

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_dry_run_shows_the_first_batch_and_where_the_objectives_go(workdir: Path) -> None:
    monitored = ["callbacks.checkpoint.monitor=train/loss", "callbacks.checkpoint.mode=max"]
    goals = "sweep.objectives=[parameters,train/loss]"

    code, said, _ = searched(LR, *monitored, goals, "sweep.n_trials=6", "sweep.batch=3", "sweep.dry_run=true")

    assert code == 0
    assert "6 trials, 3 at a time, by tpe with seed 0: minimize parameters, maximize train/loss" in said
    assert "optimizer.lr  0.0001 to 0.1, log" in said
    assert "0002  optimizer.lr=" in said
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["seed=0,1", "sweep.n_trials=4"], "a study needs a setting to search"),
        ([LR], "a study needs a number of trials"),
        ([LR, "sweep.n_trials=0"], "sweep.n_trials=0 (command line): must be an integer of at least 1"),
        ([LR, "sweep.n_trials=4", "sweep.n_samples=4"], "is for a sweep without Optuna"),
        ([LR, "sweep.n_trials=4", "sweep.objectives=[val/los]"], "did you mean val/loss?"),
        ([LR, "sweep.n_trials=4", "sweep.directions=[minimize,maximize]"], "each of the 1 objectives (val/loss)"),
        ([LR, "sweep.n_trials=4", "sweep.storage=sqlite:////nowhere/study.db"], "unable to open database file"),
        ([LR, "sweep.n_trials=4", "sweep.sampler=tpx"], "sweep.sampler=tpx (command line): no such sampler"),
        (["optimizer.lr=interval(-1,1)", "sweep.n_trials=4"], "optimizer.lr=-1.0 (command line): must be a number"),
        ([LR, "sweep.n_trials=4", "sweep.sampler=cmaes"], "sweep.sampler=cmaes (command line): needs "),
        ([LR, "seed=interval(0,1)", "sweep.n_trials=4"], "all of its values in every trial"),
        ([LR, "sweep.n_trials=30000"], "30,000 jobs"),
    ],
)
def test_bad_input_is_refused_in_three_lines_before_anything_trains(
    workdir: Path, overrides: list[str], problem: str
) -> None:
    assert problem in refused(*overrides)

    assert list(workdir.glob("sweep/0*")) == []


def test_workers_that_contradict_are_refused_before_there_is_a_directory(workdir: Path) -> None:
    said = refused(LR, "sweep.n_trials=4", "workers=slurm", "sweep.processes=2")

    assert "sweep.processes=2 (command line): is for worker processes of this machine" in said
    assert list(workdir.iterdir()) == []


def test_a_number_of_trials_without_optuna_is_refused(workdir: Path) -> None:
    assert "add hydra/sweeper=optuna" in refused(LR, "sweep.n_trials=4", "hydra/sweeper=shoal")


def test_without_optuna_the_error_says_how_to_install_it(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else there(name))

    assert "pip install 'shoal[optuna]'" in refused(LR, "sweep.n_trials=4")
