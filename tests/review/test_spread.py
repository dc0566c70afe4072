"""Numbers that are none: in means, rankings, in what is pruned and expected, whichever way a metric is better."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, stdev

import polars as pl
import pytest

from runs import make_run, make_sweep
from shoal.build.expectations import Expectation, compared_over
from shoal.judging import place
from shoal.review.catalog import find
from shoal.review.entries import runs
from shoal.review.removal import worst
from shoal.review.report.gather import gather
from shoal.review.spread import over
from shoal.review.values import ranked
from shoal.rundir import Best, History, RunInfo, Status, SweepDir, read_info, read_sweep
from shoal.sweeps.summary import summarize

NONE = (math.nan, math.inf, -math.inf, None)


def test_a_spread_is_of_the_finite_values_and_counts_the_others() -> None:
    found = over([1.0, math.nan, 2.0, math.inf, None, 4.0])

    assert (found.mean, found.std) == (fmean([1, 2, 4]), stdev([1, 2, 4]))
    assert (found.min, found.max) == (1.0, 4.0)
    assert found.cells[-1] == "3 of 6"
    assert over([1.0, 2.0]).cells[-1] == "2"


@pytest.mark.parametrize("value", NONE)
def test_a_spread_of_no_number_is_nan_and_no_error(value: float | None) -> None:
    found = over([value] * 8)

    assert math.isnan(found.mean)
    assert found.cells == ["nan", "", "", "nan", "nan", "0 of 8"]


@pytest.mark.parametrize("way", ["min", "max"])
def test_nan_is_worse_than_any_number_in_either_direction(way: str) -> None:
    values = [math.nan, math.inf, 0.0, None, -math.inf]

    order = sorted(values, key=lambda value: place(value, way))

    numbers = [-math.inf, 0.0, math.inf]
    assert order[:3] == (numbers if way == "min" else numbers[::-1])
    assert [order[3] is not None, order[4]] == [True, None]


def folds_with(root: Path, values: list[float], *, mode: str = "max") -> SweepDir:
    """A sweep over folds that have come to these values of val/r2; where it is nan, no best state was found."""
    each = {
        number: {
            "best": None if math.isnan(value) else Best("val/r2", mode, value, 1, 26),
            "rows": [{"step": 26, "epoch": 1, "val/loss": 0.5, "val/r2": value}],
        }
        for number, value in enumerate(values)
    }
    return make_sweep(root, {"task.fold": list(range(len(values)))}, each=each)


def results_of(sweep: SweepDir) -> dict[int, RunInfo]:
    return {job.number: read_info(sweep.run(job).info) for job in read_sweep(sweep.info).jobs}


@pytest.mark.parametrize(("mode", "best"), [("max", "0002"), ("min", "0001")])
def test_folds_whose_metric_is_nan_are_never_best_and_not_in_the_mean(mode: str, best: str, tmp_path: Path) -> None:
    sweep = folds_with(tmp_path, [math.nan, 0.5, 0.9], mode=mode)

    text = summarize(sweep, read_sweep(sweep.info), results_of(sweep))

    rows = [line.split() for line in text.splitlines()]
    (spread,) = [row for row in rows if row[:2] == ["final", "val/r2"]]
    assert f"its best run is {best} " in text
    assert spread[2] == "0.7"
    assert spread[-3:] == ["2", "of", "3"]
    assert pl.read_csv(sweep.summary)["best_runs"].to_list() == [2, 2, 2]


def test_leaving_one_out_has_a_summary_although_r2_is_nan_in_all(tmp_path: Path) -> None:
    sweep = folds_with(tmp_path, [math.nan] * 8)

    text = summarize(sweep, read_sweep(sweep.info), results_of(sweep))

    (spread,) = [line.split() for line in text.splitlines() if "final val/r2" in line]
    assert spread == ["final", "val/r2", "nan", "nan", "nan", "0", "of", "8"]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_between_them_does_not_disturb_the_order_of_runs(mode: str, tmp_path: Path) -> None:
    values = [0.3, math.nan, 0.1, math.inf, 0.5, math.nan, 0.2]
    folds_with(tmp_path, values, mode=mode)

    found = runs(find([tmp_path]))

    best = [run.summary.final["val/r2"] for run in ranked(found, "val/r2") if run.summary]
    assert best == sorted([0.1, 0.2, 0.3, 0.5], reverse=mode == "max")
    assert [row.rank for row in gather(found, title="").rows] == [1, 2, 3, 4, None, None, None]


def test_runs_that_came_to_nan_are_the_first_that_pruning_removes(tmp_path: Path) -> None:
    for loss in (0.2, math.nan, 0.1):
        make_run(tmp_path, name=f"loss-{loss}", final={"val/loss": loss}, best=None)

    doomed = worst(runs(find([tmp_path])), keep=2, metric=None)

    assert [run.id for run in doomed] == ["loss-nan"]


@pytest.mark.parametrize("over", ["mean", "std", "median", "min", "max"])
def test_an_expectation_over_runs_is_missed_where_one_of_them_is_nan(over: str) -> None:
    expected = Expectation(metric="val/r2", over=over, above=-1.0, below=1.0)  # type: ignore[arg-type]
    infos = [
        RunInfo(id="r", task="t", status=Status.COMPLETED, engine="lightning", seed=0, final={"val/r2": value})
        for value in (0.1, math.nan, 0.2)
    ]

    (outcome,) = compared_over([expected], [(info, History(Path("none"))) for info in infos])

    assert not outcome.holds


def test_settings_with_nan_in_all_folds_are_told_by_their_last_states(tmp_path: Path) -> None:
    rows = [{"step": 26, "epoch": 1, "val/loss": 0.5, "val/r2": math.nan}]
    sweep = make_sweep(tmp_path, {"optimizer.lr": [0.1, 0.2], "task.fold": [0, 1]}, rows=rows, best=None)

    text = summarize(sweep, read_sweep(sweep.info), results_of(sweep))

    assert "in the end: what they monitored was never a number" in text.splitlines()[0]
    assert "1 of 1 other settings cannot be told apart" in text
