"""What judges a run is the same wherever it is asked: alone and in a sweep, under any names, in either direction."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from own_runs import SAMPLES, trained, write_task
from shoal.cli import train
from shoal.errors import ConfigError
from shoal.rundir import RunDir, Status, read_info

FEW = ["trainer.max_epochs=2", "callbacks.progress=null"]
USUAL = "Wave"
"""A module that logs `train_loss` and `val_loss`, and drops out nothing."""


@pytest.fixture
def usual(workdir: Path) -> None:
    write_task("usual", USUAL, SAMPLES, dropout=0.0)


def test_without_a_checkpoint_usual_names_judge_alone_and_in_a_sweep(usual: None, undrawn: None) -> None:
    words = ["task=usual", *FEW, "callbacks.checkpoint=null"]

    alone = shoal.train([*words, "hydra.run.dir=alone"])
    swept = shoal.sweep([*words, "seed=0,1", "hydra.sweep.dir=sweep", "sweep.processes=0"])

    assert alone.status == "completed"
    assert swept.table["status"].to_list() == ["completed", "completed"]
    assert {run.info.best.metric for run in swept.runs if run.info.best} == {"val_loss"}


def test_the_curves_of_usual_names_are_drawn(usual: None) -> None:
    run = trained("task=usual", *FEW)

    drawn = {line.get_label() for axes in run.figure.axes for line in axes.get_lines()}
    assert {"val_loss"} <= drawn
    assert any(label.startswith("train_loss") for label in drawn)


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_a_loss_that_is_no_number_ends_a_run_however_it_is_spelled(
    engine: str, workdir: Path, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task("spelled", "Spelled", SAMPLES, optimizer="adam")

    code = train(["task=spelled", *FEW, f"engine={engine}", "hydra.run.dir=run"])

    assert code == 1
    assert read_info(RunDir(Path("run")).info).status is Status.DIVERGED
    assert "valLoss is nan" in capsys.readouterr().err


def test_an_accuracy_is_maximized_unless_the_mode_says_otherwise(workdir: Path, undrawn: None) -> None:
    words = ["task=iris", "trainer.max_epochs=12", "optimizer.lr=0.05", "callbacks.checkpoint.monitor=val/accuracy"]

    rising = shoal.train([*words, "hydra.run.dir=rising"])
    falling = shoal.train([*words, "callbacks.checkpoint.mode=min", "hydra.run.dir=falling"])

    assert rising.info.best is not None
    assert falling.info.best is not None
    assert rising.info.best.value == rising.metrics["val/accuracy"].max()
    assert falling.info.best.value == falling.metrics["val/accuracy"].min()


def test_early_stopping_waits_for_the_metric_in_its_own_direction(workdir: Path, undrawn: None) -> None:
    words = ["task=iris", "trainer.max_epochs=30", "optimizer.lr=0.05", "callbacks=early_stopping"]
    words += ["callbacks.early_stopping.monitor=val/accuracy", "callbacks.early_stopping.patience=3"]

    run = shoal.train(words)

    accuracies = run.metrics["val/accuracy"].to_list()
    assert max(accuracies) > accuracies[0]
    assert len(accuracies) > 4  # it would have ended there had a rising accuracy counted as no improvement


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["task=sin_x2", "callbacks.checkpoint.monitor=grad_norm"], "callbacks.checkpoint.mode"),
        (["task=sin_x2", "scheduler=plateau", "scheduler.monitor=grad_norm"], "scheduler.mode"),
        (
            ["task=sin_x2", "callbacks=early_stopping", "callbacks.early_stopping.monitor=grad_norm"],
            "callbacks.early_stopping.mode",
        ),
    ],
)
def test_a_direction_that_cannot_be_known_is_asked_for(words: list[str], key: str, workdir: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be known") as caught:
        shoal.train([*words, "trainer.max_epochs=1"])

    assert caught.value.key == key


def test_a_search_maximizes_a_monitored_accuracy(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=iris", *FEW, "hydra/sweeper=optuna", "sweep.n_trials=2", "sweep.processes=0"]
    words += ["callbacks.checkpoint.monitor=val/accuracy", "optimizer.lr=interval(0.01,0.1)", "hydra.sweep.dir=sweep"]

    code = train(["-m", *words])

    assert code == 0
    assert "maximize val/accuracy" in capsys.readouterr().err


def test_the_best_of_validations_within_an_epoch_is_the_lowest_at_its_step(workdir: Path, undrawn: None) -> None:
    small = ["task=parabola", "task.n_samples=50", "task.batch_size=4", "callbacks=quiet", "optimizer.lr=0.3"]

    run = shoal.train([*small, "trainer.val_check_interval=0.3", "trainer.max_epochs=2"])

    rows = [(row["val/loss"], row["step"]) for row in run.metrics.to_dicts() if row["val/loss"] is not None]
    best = run.info.best
    assert best is not None
    assert [step for _, step in rows] == [3, 6, 9, 13, 16, 19]
    assert (best.value, best.step) == min(rows)
    assert run.evaluate("best")["val/loss"] == pytest.approx(best.value, rel=1e-6)


def test_a_sanity_check_leaves_no_row_and_changes_no_number(workdir: Path, undrawn: None) -> None:
    small = ["task=parabola", "task.n_samples=50", "task.batch_size=10", "callbacks=quiet", "trainer.max_epochs=2"]

    checked, unchecked = (shoal.train([*small, f"trainer.num_sanity_val_steps={n}"]) for n in (2, 0))

    assert checked.metrics.equals(unchecked.metrics)
