"""What a trial of a search with Optuna is told of its runs, and what comes of one that fails."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from searches import FOLDER, LR, Surface, searched, session, trials
from shoal.errors import ConfigError
from shoal.rundir import Status, read_info, read_sweep

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.usefixtures("workdir")
def test_a_trial_is_told_the_mean_over_its_seeds_and_fails_with_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    diverged = {"status": Status.DIVERGED, "reason": "val/loss is nan"}
    surface = Surface(run2=diverged, run4={"reason": "halving after epoch 1: 3 of 4"})

    mean, failed, pruned, _ = session(surface, LR, "seed=0,1", n_trials=4).trials

    states = [trial.state for trial in (mean, failed, pruned)]
    assert mean.value == pytest.approx((math.log10(mean.params["optimizer.lr"]) + 2) ** 2 + 0.5)
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert failed.user_attrs["reason"] == "run: val/loss is nan"
    assert pruned.intermediate_values == {2: pruned.value}
    assert "2 completed, 1 pruned, 1 diverged" in capsys.readouterr().out


@pytest.mark.usefixtures("workdir")
def test_several_objectives_leave_a_pareto_front_in_table_and_file(capsys: pytest.CaptureFixture[str]) -> None:
    surface = Surface(**{f"run{number}": {"parameters": 10 - number} for number in range(8)})
    goals = {"objectives": ["val/loss", "parameters", "accuracy"], "directions": ["minimize", "minimize", "maximize"]}

    study = session(surface, LR, n_trials=8, **goals)

    rows = list(csv.DictReader(FOLDER.trials.read_text().splitlines()))
    values = [(float(row["val/loss"]), float(row["parameters"])) for row in rows]
    front = [i for i, (a, b) in enumerate(values) if not any(c <= a and d <= b and (c, d) != (a, b) for c, d in values)]
    assert [i for i, row in enumerate(rows) if row["best"] == "1"] == front
    assert len(front) > 1
    assert f"Pareto front: {len(front)} of 8 trials: 8 completed" in capsys.readouterr().out
    assert study.trials[0].values[2] == -study.trials[0].values[0]


@pytest.mark.usefixtures("workdir")
def test_an_objective_that_training_shows_to_be_missing_is_refused() -> None:
    study = optuna.create_study()

    with pytest.raises(ConfigError, match=r"r2 is never measured\n.*accuracy"):
        session(Surface(), LR, n_trials=2, objectives=["r2"], study=study)

    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 2


@pytest.mark.usefixtures("workdir")
def test_a_failed_trial_is_tried_again_when_asked_to_a_diverged_one_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    surface = Surface(run1={"status": Status.FAILED, "reason": "no samples"}, run2={"status": Status.DIVERGED})
    study = session(surface, LR, n_trials=4)
    session(surface, LR, n_trials=4, study=study)

    session(surface, LR, n_trials=4, study=study, how={"retry_failed": True})

    assert surface.launched[4:] == [surface.launched[1]]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert "3 completed, 1 failed and tried again, 1 diverged" in capsys.readouterr().out


@pytest.mark.usefixtures("workdir")
def test_a_search_that_is_to_fail_fast_asks_for_no_further_batch() -> None:
    surface = Surface(run1={"status": Status.FAILED, "reason": "no samples"})

    study = session(surface, LR, n_trials=6, batch=2, how={"fail_fast": True})

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]


def test_a_diverging_trial_fails_and_the_others_are_runs_like_any_other(workdir: Path) -> None:
    code, said, _ = searched("optimizer=sgd", "optimizer.lr=1e-2,1e9", "seed=0,1", "sweep.n_trials=4", "sweep.batch=2")

    info = read_sweep(FOLDER.info)
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in trials()}
    best = next(trial for trial in trials() if trial.state is TrialState.COMPLETE)
    runs = [read_info(FOLDER.run(job).info) for job in info.jobs]
    assert code == 1
    assert states == {"0.01": "COMPLETE", "1000000000.0": "FAIL"}
    assert len(info.jobs) == 4, "a point that is proposed again is trained once"
    assert info.status is Status.FAILED
    assert info.study is not None
    assert info.study.best[0].number == best.number
    found = [run.best.value for run in runs if run.differs["optimizer.lr"] == 1e-2 and run.best]
    assert best.value == pytest.approx(sum(found) / 2)
    assert {run.engine for run in runs} == {"vectorized"}
    assert len(list(csv.DictReader(FOLDER.trials.read_text().splitlines()))) == 4
    assert "over seeds" in said
