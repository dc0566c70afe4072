"""How uncertain a fit is: standard errors, intervals, bootstraps, and the quantiles that they are made of."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
import torch

import shoal
from fitting import CERTIFIED, START, WORDS, fitted
from shoal.cli import run as command
from shoal.fits import covariance
from shoal.fits.bootstrap import resampled, solution
from shoal.fits.measured import Ended
from shoal.fits.residual_tests import normality
from shoal.tails import chi2_beyond, f_beyond, t_quantile
from shoal.tasks.formula_problem import FormulaProblem

pytestmark = pytest.mark.usefixtures("unrendered")


def test_absolute_standard_errors_of_rows_set_the_size_of_the_errors(misra1a: Path) -> None:
    pl.read_csv("t.csv").with_columns(s=pl.lit(0.2)).write_csv("t.csv")

    relative, absolute = (fitted(START, "task.sigma=s", f"task.absolute_sigma={each}") for each in ("false", "true"))

    assert relative["parameters"][0]["error"] == pytest.approx(CERTIFIED["b1"][1], rel=1e-8)
    assert absolute["parameters"][0]["error"] == pytest.approx(CERTIFIED["b1"][1] * 0.2 / 0.10187876330, rel=1e-8)
    assert absolute["reduced"] == pytest.approx(1.2455138894e-01 / 0.04 / 12, rel=1e-8)


def test_intervals_of_a_known_variance_are_normal_ones(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.DataFrame({"x": [0, 1, 2, 3], "y": [2, 3, 1, 6], "s": [0.5] * 4}).write_csv("t.csv")
    words = [*WORDS, "model.expression=a+b*x", "model.start={a:1,b:1}"]
    runs = [shoal.train([*words, *own]) for own in (["task.sigma=s", "task.absolute_sigma=true"], ["loss=poisson"])]
    capsys.readouterr()

    command(["predict", str(runs[0].path), "--x", "1.5", "--interval", "0.95"])

    for run in runs:
        assert run.info.fit is not None
        for row in run.info.fit["parameters"]:
            assert row["high"] - row["value"] == pytest.approx(1.9599639845400545 * row["error"], rel=1e-12)
    [predicted] = pl.read_csv(capsys.readouterr().out.encode()).iter_rows(named=True)
    # Of the mean of four values, and of one more beside it.
    assert predicted["y_curve_high"] - predicted["y"] == pytest.approx(1.9599639845400545 * 0.25, rel=1e-9)
    assert predicted["y_high"] - predicted["y"] == pytest.approx(1.9599639845400545 * 0.3125**0.5, rel=1e-9)


def test_as_many_parameters_as_samples_of_known_variance_have_errors(workdir: Path) -> None:
    pl.DataFrame({"x": [1, 3], "y": [2.0, 3.0], "s": [0.3, 0.4]}).write_csv("t.csv")
    words = [*WORDS, "model.expression=a+b*x", "model.start={a:1,b:1}", "task.sigma=s", "task.absolute_sigma=true"]

    fit = shoal.train(words).info.fit

    assert fit is not None
    assert (fit["freedom"], fit["reduced"], [*fit["warnings"]]) == (0, None, [])
    assert fit["parameters"][1]["error"] == pytest.approx(0.25, rel=1e-12)


def test_quantiles_and_tails_are_those_of_the_tables() -> None:
    assert t_quantile(0.95, 12) == pytest.approx(2.178812829663418, rel=1e-9)
    assert t_quantile(0.99, 1) == pytest.approx(63.65674116287399, rel=1e-9)
    assert f_beyond(4.964602743730711, 1, 10) == pytest.approx(0.05, rel=1e-8)
    # By mpmath, to 30 digits.
    assert t_quantile(0.9, 5) == pytest.approx(2.0150483733330238, rel=1e-13)
    assert t_quantile(0.95, 100_000) == pytest.approx(1.9599877075346, rel=1e-9)
    assert f_beyond(504.3, 1, 37) == pytest.approx(3.737615533296074e-23, rel=1e-12)
    assert t_quantile(0.95, math.inf) == pytest.approx(1.959963984540054, rel=1e-15)
    assert chi2_beyond(3.841458820694124, 1) == pytest.approx(0.05, rel=1e-8)


def test_residuals_are_held_against_the_normal_distribution_as_scipy_does() -> None:
    drawn = torch.Generator().manual_seed(0)
    normal = torch.randn(40, generator=drawn, dtype=torch.float64)

    found = [normality(each) for each in (normal, normal.exp(), normal[:20])]

    assert found[:2] == pytest.approx([0.9491873955618617, 1.3795304238985908e-09], rel=1e-6)
    assert found[2] is None


def test_a_parameter_without_any_effect_is_not_determined() -> None:
    jacobian = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64)

    found = covariance(jacobian)

    assert found.undetermined.tolist() == [False, True]
    assert found.matrix[0, 0] == pytest.approx(1 / 14)


@pytest.mark.parametrize("resampling", ["parametric", "residuals"])
def test_a_bootstrap_tells_of_the_errors_that_the_jacobian_does(misra1a: Path, resampling: str) -> None:
    words = [START, "model.bootstrap=400", f"model.resampling={resampling}"]

    first, again = (fitted(*words)["bootstrap"] for _ in range(2))

    assert first == again
    assert first["failed"] == 0
    for name, (value, error) in CERTIFIED.items():
        low, high = first["intervals"][name]
        assert low < value < high
        assert first["errors"][name] == pytest.approx(error, rel=0.2)


def test_a_row_drawn_twice_counts_as_two_and_resampled_fits_stay_apart(misra1a: Path) -> None:
    run = shoal.train([*WORDS, START])
    end = Ended.of(run.presented("last"), run.job.data.train)
    problem, drawn = end.problem.select(torch.tensor([0])), torch.Generator().manual_seed(0)
    made = resampled(problem, end.params[0], samples=40, resampling="cases", generator=drawn)

    found, ended = solution(made, end.params[:1].repeat(40, 1))

    for row in (0, 7, 39):
        alone, _ = solution(made.select(torch.tensor([row, row])), end.params)
        torch.testing.assert_close(found[row], alone[0], rtol=1e-9, atol=0)
    times = made.root[7, :14].square().round().long()
    columns = {name: each[:, :14].repeat_interleave(times, dim=1) for name, each in problem.columns.items()}
    y = problem.y[:, :14].repeat_interleave(times, dim=1)
    repeated, _ = solution(FormulaProblem.of(problem.curves, problem.names, columns, y[..., None]), end.params)
    torch.testing.assert_close(found[7], repeated[0], rtol=1e-7, atol=0)
    assert ended.all()


def test_intervals_of_predictions_are_those_of_the_delta_method(
    misra1a: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shoal.train([*WORDS, "model.expression=a+b*x", "model.start={a:0,b:1}"])
    capsys.readouterr()

    code = command(["predict", str(run.path), "--x", "100,500", "--interval", "0.9"])

    x, y = (torch.tensor(column.to_list(), dtype=torch.float64) for column in pl.read_csv("t.csv"))
    predicted = pl.read_csv(capsys.readouterr().out.encode())
    fit = run.info.fit
    assert code == 0
    assert fit is not None
    for row in predicted.iter_rows(named=True):
        # Of a straight line, in closed form (Draper & Smith, 1998, 3.1).
        share = 1 / len(x) + (row["x"] - float(x.mean())) ** 2 / float((x - x.mean()).square().sum())
        for name, variance in (("y", 1 + share), ("y_curve", share)):
            half = t_quantile(0.9, 12) * (fit["reduced"] * variance) ** 0.5
            assert row[f"{name}_high"] - row["y"] == pytest.approx(half, rel=1e-7)
            assert row["y"] - row[f"{name}_low"] == pytest.approx(half, rel=1e-7)
    assert len(y) == 14


@pytest.mark.parametrize("resampling", ["residuals", "parametric"])
def test_rows_without_a_value_are_not_drawn_and_known_errors_are_kept(resampling: str, workdir: Path) -> None:
    y = [0.5 * i + 0.2 * (-1) ** i for i in range(12)]
    # The two targets miss other rows, so that all rows are there.
    left, right = ([None if i % 3 == miss else value for i, value in enumerate(y)] for miss in (0, 1))
    pl.DataFrame({"x": range(12), "u": left, "v": right, "s": [2.0] * 12}).write_csv("t.csv")
    words = ["task.target=[u,v]", "model.expression=[a+b*x,a+b*x]", "model.start={a:1,b:1}", "task.missing=drop"]
    known = ["task.sigma=s", "task.absolute_sigma=true"] if resampling == "parametric" else []

    fit = fitted(*words, *known, "model.bootstrap=600", f"model.resampling={resampling}")

    assert fit["samples"] == 16
    for row in fit["parameters"]:
        assert fit["bootstrap"]["errors"][row["name"]] == pytest.approx(row["error"], rel=0.15)
