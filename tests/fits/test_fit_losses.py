"""Fits by losses other than squares: robust ones, and likelihoods of counts and shares."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
import torch

import shoal
from fitting import START, WORDS, fitted
from shoal.errors import ConfigError
from shoal.losses import Binomial, Cauchy, Huber, Loss, Poisson, SoftL1
from shoal.review.fit_lines import fit_lines

pytestmark = pytest.mark.usefixtures("unrendered")


ROBUST = {
    "huber": (237.6688330904305, 0.0005537140714336407),
    "soft_l1": (237.05069002559281, 0.0005554478341746911),
    "cauchy": (239.2595492168223, 0.0005492682030088579),
}


@pytest.mark.parametrize("loss", ROBUST)
def test_fits_by_robust_losses_are_those_of_scipy(misra1a: Path, loss: str) -> None:
    frame = pl.read_csv("t.csv").with_columns(y=pl.when(pl.col("x") == 289).then(70.0).otherwise("y"))
    frame.write_csv("t.csv")

    found = fitted(START, f"loss={loss}", "loss.delta=0.2")

    assert [row["value"] for row in found["parameters"]] == pytest.approx(ROBUST[loss], rel=1e-6)


@pytest.mark.parametrize("loss", [Huber(delta=0.5), SoftL1(delta=0.5), Cauchy(delta=0.5), Poisson(), Binomial()])
def test_what_a_solver_sees_of_a_loss_is_its_derivative(loss: Loss) -> None:
    prediction = torch.linspace(0.1, 0.9, 13, dtype=torch.float64, requires_grad=True)

    squares = loss.squares(prediction, torch.full_like(prediction, 0.3))

    [slope] = torch.autograd.grad(squares.cost.sum(), prediction)
    torch.testing.assert_close(2 * squares.slope * squares.residual, slope)


def test_counts_and_shares_are_fitted_by_their_likelihood(workdir: Path) -> None:
    counts, trials = [0, 3, 1, 4, 2, 2, 5, 1], [10, 20, 10, 20, 10, 10, 20, 10]
    shares = [count / n for count, n in zip(counts, trials, strict=True)]
    pl.DataFrame({"x": range(8), "count": counts, "n": trials, "s": shares}).write_csv("t.csv")
    words = [*WORDS, "model.expression=a+0*x", "model.start={a:0.4}"]

    poisson = shoal.train([*words, "task.target=count", "loss=poisson"]).info.fit
    binomial = shoal.train([*words, "task.target=s", "task.weight=n", "loss=binomial"]).info.fit

    mean, rate = sum(counts) / 8, sum(counts) / sum(trials)
    logs = [
        math.log(math.comb(n, k)) + k * math.log(rate) + (n - k) * math.log1p(-rate)
        for k, n in zip(counts, trials, strict=True)
    ]
    assert poisson is not None
    assert binomial is not None
    assert poisson["parameters"][0]["value"] == pytest.approx(mean, rel=1e-9)
    assert poisson["parameters"][0]["error"] == pytest.approx((mean / 8) ** 0.5, rel=1e-9)
    likelihood = sum(k * math.log(mean) - mean - math.lgamma(k + 1) for k in counts)
    assert poisson["aic"] == pytest.approx(2 - 2 * likelihood, rel=1e-9)
    assert binomial["parameters"][0]["value"] == pytest.approx(rate, rel=1e-9)
    assert binomial["parameters"][0]["error"] == pytest.approx((rate * (1 - rate) / sum(trials)) ** 0.5, rel=1e-9)
    assert binomial["aic"] == pytest.approx(2 - 2 * sum(logs), rel=1e-9)
    assert (poisson["loss"], poisson["warnings"]) == ("poisson", [])
    assert (binomial["loss"], binomial["warnings"]) == ("binomial", [])


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("poisson", "2 of 4 targets are no whole numbers, 0.25 the first"),
        ("binomial", "2 of 4 shares times task.weight are no whole numbers, 0.25 the first"),
    ],
)
def test_a_likelihood_of_counts_says_of_other_numbers_that_they_are(loss: str, told: str, workdir: Path) -> None:
    pl.DataFrame({"x": range(4), "y": [0.0, 0.25, 1.0, 0.5], "n": [1] * 4}).write_csv("t.csv")
    words = [*WORDS, "model.expression=a+0*x", "model.start={a:0.4}", "task.target=y", "task.weight=n"]

    fit = shoal.train([*words, f"loss={loss}"]).info.fit

    assert fit is not None
    assert [*fit["warnings"]] == [f"{told}: errors, AIC and BIC are those of counts"]


def test_counts_whose_shares_are_written_with_few_digits_are_counts(workdir: Path) -> None:
    shares = [round(k / 30, 4) for k in (1, 7, 22, 29)]
    pl.DataFrame({"x": range(4), "y": shares, "n": [30] * 4}).write_csv("t.csv")
    words = [*WORDS, "model.expression=1/(1+exp(a-b*x))", "model.start={a:1,b:1}", "task.target=y", "task.weight=n"]

    fit = shoal.train([*words, "loss=binomial"]).info.fit

    assert fit is not None
    assert [*fit["warnings"]] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task.target=s", "loss=binomial"], "of how many trials 0.1 is the share is not known\n  task.weight=COLUMN"),
        (
            ["task.target=k", "loss=binomial"],
            "and one is 5\n  of numbers of successes the shares, and task.weight=COLUMN",
        ),
        (["task.target=k", "loss=poisson", "model.bootstrap=9", "model.resampling=residuals"], "parametric or cases"),
        (
            ["task.target=k", "model.expression=a*day"],
            "'day' is a column of dates or names, which are split into day.year",
        ),
    ],
)
def test_what_is_missing_to_count_or_to_compute_is_told(words: list[str], told: str, workdir: Path) -> None:
    days = [f"2024-01-{i + 1:02}" for i in range(8)]
    pl.DataFrame({"x": range(8), "k": [5, *range(1, 8)], "s": [0.1] * 8, "day": days}).write_csv("t.csv")

    with pytest.raises(ConfigError) as caught:
        shoal.train([*WORDS, "model.expression=a+0*x", "model.start={a:0.4}", *words])

    assert told in caught.value.text()
    assert len(caught.value.text().splitlines()) <= 3


@pytest.mark.parametrize("loss", ["poisson", "binomial"])
def test_a_parametric_bootstrap_of_counts_draws_counts(loss: str, workdir: Path) -> None:
    x = [0.2 * i for i in range(20)]
    counts = [1, 3, 0, 2, 1, 4, 2, 3, 5, 3, 6, 4, 7, 5, 8, 6, 9, 9, 10, 9]
    pl.DataFrame({"x": x, "y": [k / (10 if loss == "binomial" else 1) for k in counts], "n": [10] * 20}).write_csv(
        "t.csv"
    )
    formula = "exp(a+b*x)" if loss == "poisson" else "1/(1+exp(a-b*x))"
    weight = ["task.weight=n"] if loss == "binomial" else []
    words = [f"model.expression={formula}", "model.start={a:1,b:0.5}", f"loss={loss}", *weight]

    fit = fitted(*words, "model.bootstrap=400", "model.resampling=parametric")

    assert fit["bootstrap"]["failed"] == 0
    for row in fit["parameters"]:
        assert fit["bootstrap"]["errors"][row["name"]] == pytest.approx(row["error"], rel=0.2)


@pytest.mark.parametrize(("loss", "advised"), [("mse", True), ("cauchy", False)])
def test_a_robust_loss_is_advised_to_who_has_none(loss: str, advised: bool, misra1a: Path) -> None:
    fit = fitted(START, f"loss={loss}") | {"normality": 0.001}

    [line] = [line for line in fit_lines(fit) if line.startswith("sizes")]

    assert line.endswith("outliers? loss=soft_l1 heeds them less" if advised else "outliers?")
