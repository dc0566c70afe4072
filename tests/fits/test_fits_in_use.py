"""Fits from Python, what they predict, and which of them are compared."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import shoal
from shoal.cli import run as command
from shoal.errors import ConfigError, UsageError
from shoal.pictures import Band, ErrorBars, Line
from shoal.record.figures.formula_panel import formula_panel

pytestmark = pytest.mark.usefixtures("unrendered")
LINE = ("y = a*x+b", {"a": 1, "b": 0})
QUIET = ["logger=none", "callbacks.progress=null"]


@pytest.fixture
def table(workdir: Path) -> Path:
    y = [1.1, 2.3, 2.8, 4.4, 4.9, 6.3, 6.6, 8.4, 8.8, 10.1]
    pl.DataFrame({"x": range(10), "y": y, "s": [0.1, 0.2] * 5}).write_csv("t.csv")
    return workdir


def fitted(formula: str, start: dict[str, float], *overrides: str) -> shoal.Run:
    return shoal.fit("t.csv", formula, start, [*QUIET, *overrides])


def test_a_fit_from_python_predicts_with_the_intervals_of_the_command(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fitted(*LINE, "task.sigma=s")
    capsys.readouterr()

    found = run.predict([2.5, 4], interval=0.9)

    command(["predict", str(run.path), "--x", "2.5,4", "--interval", "0.9"])
    printed = pl.read_csv(capsys.readouterr().out.encode())
    assert found.columns == ["y", "y_low", "y_high", "y_curve_low", "y_curve_high"]
    assert printed.drop("x").rows() == found.rows()
    with pytest.raises(UsageError, match=r"interval=1.5: must be between 0 and 1"):
        run.predict([2.5], interval=1.5)


def test_intervals_of_counts_and_shares_end_where_these_do(table: Path) -> None:
    pl.DataFrame({"x": range(6), "y": [0, 1, 0, 2, 1, 3], "p": [0.0, 0.0, 0.5, 1.0, 1.0, 1.0], "n": [2] * 6}).write_csv(
        "t.csv"
    )
    counts = fitted("y = exp(a+b*x)", {"a": 0, "b": 0.1}, "loss=poisson")
    shares = fitted("p = 1/(1+exp(a-b*x))", {"a": 1, "b": 1}, "loss=binomial", "task.weight=n")

    [count], [share] = (run.predict([1], interval=0.9).rows(named=True) for run in (counts, shares))

    assert count["y_low"] == share["p_low"] == 0
    assert 0 <= count["y_curve_low"] < count["y"] < count["y_high"]
    assert share["p"] < share["p_high"] <= 1


def test_the_bands_of_groups_lie_behind_the_data_of_all(table: Path) -> None:
    pl.read_csv("t.csv").with_columns(site=pl.Series(["A", "B"] * 5)).write_csv("t.csv")
    run = fitted(*LINE, "model.by=site")
    module, data = run.presented("best"), run.job.data

    panel = formula_panel(module.model, module.loss, data, run.info.fit or {}, str)

    kinds = [type(mark) for mark in panel.marks]
    assert kinds == [Band, Band, ErrorBars, Line, ErrorBars, Line]


@pytest.mark.parametrize(
    ("formula", "start", "told"),
    [
        ("y = a*x+b", {"a": 1}, "'b'"),
        ("a*x+b", {"a": 1, "b": 0}, "does not name the column that it is for"),
    ],
)
def test_a_wrong_fit_from_python_is_told(table: Path, formula: str, start: dict[str, float], told: str) -> None:
    with pytest.raises((ConfigError, UsageError)) as caught:
        fitted(formula, start)

    assert told in caught.value.text()


def test_intervals_of_what_the_data_do_not_determine_are_refused(table: Path) -> None:
    run = fitted("y = a*c*x+b", {"a": 1, "b": 0, "c": 1})

    with pytest.raises(UsageError) as caught:
        run.predict([2.5], interval=0.9)

    assert "the data do not determine a, c" in caught.value.text()
    assert "'model.fixed=[a]'" in caught.value.text()


@pytest.mark.parametrize(
    ("other", "own", "told", "weighed"),
    [
        (LINE, ["task.val_fraction=0.3", "seed=1"], "the fits are not of the same samples", False),
        (("y = a*x", {"a": 1}), ["task.val_fraction=0.3", "task.sigma=s"], "weigh their samples differently", True),
        (("y = a*x+c*x**2", {"a": 1, "c": 0}), ["task.val_fraction=0.3"], "as many parameters in both", True),
        (LINE, ["task.val_fraction=0.3", "loss=huber"], "the fits are of different losses", False),
    ],
)
def test_fits_that_no_test_can_compare_are_told(
    other: tuple[str, dict[str, float]],
    own: list[str],
    told: str,
    weighed: bool,
    table: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [fitted(*LINE, "task.val_fraction=0.3"), fitted(*other, *own)]
    capsys.readouterr()

    command(["compare", *(str(run.path) for run in runs)])

    shown = capsys.readouterr().out
    assert told in shown
    assert ("weight by AIC" in shown) == weighed
    assert "F test" not in shown
