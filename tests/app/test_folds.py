"""k-fold cross-validation: a sweep over the folds, with mean and spread over them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shoal.cli import train as main
from shoal.config.multirun.folds import every_fold
from shoal.loaded.run import Run
from shoal.record.figures import metric_curves as curves
from shoal.rundir import JobInfo, RunInfo, Status, SweepDir, SweepInfo
from shoal.rundir.info import Best
from shoal.sweeps.summary import summarize


@pytest.fixture
def table(workdir: Path) -> pl.DataFrame:
    frame = pl.DataFrame({"a": [i * 0.1 for i in range(32)], "y": [i * 0.7 for i in range(32)]})
    frame.write_csv("points.csv")
    return frame


def test_folds_alone_train_every_fold_and_tell_mean_and_spread(
    table: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["task=csv", "task.path=points.csv", "task.target=y", "task.folds=4", "trainer.max_epochs=2"]

    code = main(["-m", *overrides, "task.batch_size=8", "sweep.processes=0", "hydra.sweep.dir=sweep"])

    assert code == 0
    runs = [Run(f"sweep/{number:04}") for number in range(4)]
    data = [run.job.data for run in runs]
    held = [price for run, one in zip(runs, data, strict=True) for price in run.job.task.decode(one.val.y, one)["y"]]
    assert sorted(held) == pytest.approx(table["y"].to_list(), abs=1e-5)
    assert [len(one.train) for one in data] == [24, 24, 24, 24]
    summary = pl.read_csv("sweep/summary.csv")
    assert summary["task.fold"].to_list() == [0, 1, 2, 3]
    mean, std = statistics.fmean(summary["best"]), statistics.stdev(summary["best"])
    assert summary["best_mean"].to_list() == pytest.approx([mean] * 4)
    assert summary["best_std"].to_list() == pytest.approx([std] * 4)
    said = capsys.readouterr().out
    assert "over folds" in said
    (line,) = [line.split() for line in said.splitlines() if "best val/loss" in line]
    assert line[2:5] == [f"{mean:.4g}", f"{std / 2:.4g}", f"{std:.4g}"]
    assert "final val/rmse" in said


def test_curves_have_one_color_over_all_folds(table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    figure = curves.curves_figure

    def noted(groups: Mapping[str, Any], metrics: Sequence[str], *, title: str) -> Any:
        drawn.append(list(groups))
        return figure(groups, metrics, title=title)

    monkeypatch.setattr(curves, "curves_figure", noted)
    words = ["task=csv", "task.path=points.csv", "task.target=y", "task.folds=3", "trainer.max_epochs=1"]

    code = main(["-m", *words, "sweep.curves=[train/loss]", "sweep.processes=0", "hydra.sweep.dir=sweep"])

    assert code == 0
    assert drawn == [["csv"]]


@pytest.mark.parametrize(
    ("words", "jobs", "added"),
    [
        (["task.folds=5"], [], ["task.fold=range(5)"]),
        (["task=mine", "+task.folds=3", "seed=0,1"], [], ["task.fold=range(3)"]),
        (["task.folds=5", "task.fold=2"], [], []),
        (["task.folds=5", "task.fold=range(2)"], [], []),
        (["task.folds=5"], [{"task.fold": 1}], []),
        (["task.folds=5,10"], [], []),
        (["task.folds=null"], [], []),
        (["optimizer.lr=0.1,0.2"], [], []),
    ],
)
def test_every_fold_is_trained_where_it_is_not_said_which(
    words: list[str], jobs: list[dict[str, int]], added: list[str]
) -> None:
    assert every_fold(words, jobs) == [*words, *added]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_mean_and_spread_are_over_seeds_and_folds_the_best_first(mode: str, tmp_path: Path) -> None:
    jobs, runs = [], {}
    for number in range(8):
        settings = {"optimizer.lr": [0.1, 0.2][number // 4], "seed": number // 2 % 2, "task.fold": number % 2}
        jobs.append(JobInfo(number, f"{number:04}", str(number), settings, [], Status.COMPLETED))
        best = Best("val/score", mode, -1.0 - number, 1, number)
        runs[number] = RunInfo(
            id=str(number), task="t", status=Status.COMPLETED, engine="vectorized", seed=0, command=[], best=best
        )
    info = SweepInfo(
        id="s", task="t", status=Status.COMPLETED, command=[], overrides=[], varies=list(jobs[0].differs), jobs=jobs
    )

    text = summarize(SweepDir(tmp_path), info, runs)

    lines = text.splitlines()
    at = lines.index("best of 2 settings by the mean val/score over seeds and folds")
    found = [line.split() for line in lines[at + 1 : at + 4]]
    assert found[0] == ["optimizer.lr", "mean", "stderr", "std", "min", "max", "runs", "p"]
    rows = [["0.1", "-2.5", "0.6455", "1.291", "-4", "-1", "4"], ["0.2", "-6.5", "0.6455", "1.291", "-8", "-5", "4"]]
    assert [row[:7] for row in found[1:]] == (rows if mode == "max" else rows[::-1])
    assert [row[7:] for row in found[1:]] == [[], ["<0.001"]]
    assert "0 of 1 other settings cannot be told apart" in text
    assert pl.read_csv(tmp_path / "summary.csv")["best_mean"].to_list() == [-2.5] * 4 + [-6.5] * 4


@pytest.mark.parametrize("task", ["parabola", "iris"])
def test_a_single_run_with_folds_says_which_one_it_is(
    task: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([f"task={task}", "task.folds=5", "trainer.max_epochs=1", "callbacks=quiet", "logger=none"])

    assert code == 0
    said = "fold 0 of 5 is for validation; for all of them in turn: -m task.folds=5"
    assert said in capsys.readouterr().out.splitlines()
    (log,) = workdir.glob("outputs/*/*/train.log")
    assert said in log.read_text()
