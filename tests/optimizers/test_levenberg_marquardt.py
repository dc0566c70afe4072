"""Fits by Levenberg-Marquardt: what they find and say, in both engines and by `shoal fit`."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

import shoal
from fitting import fit_of
from shoal.cli import run as command
from shoal.errors import ConfigError
from shoal.expressions import parse
from shoal.fits import covariance
from shoal.fits.bootstrap import resampled, solution
from shoal.fits.measured import Ended
from shoal.fits.residual_tests import normality
from shoal.losses import Binomial, Cauchy, Huber, Loss, Poisson, SoftL1
from shoal.models import Formulas
from shoal.optimizers import LevenbergMarquardt
from shoal.optimizers.squares import Tolerances, solve
from shoal.review.fit_lines import fit_lines
from shoal.tails import chi2_beyond, f_beyond, t_quantile
from shoal.tasks.formula_problem import FormulaProblem
from spread import one_of

pytestmark = pytest.mark.usefixtures("unrendered")
MISRA1A = """x,y
77.6,10.07
114.9,14.73
141.1,17.94
190.8,23.93
239.9,29.61
289.0,35.18
332.8,40.02
378.4,44.82
434.8,50.76
477.3,55.05
536.8,61.01
593.1,66.40
689.1,75.47
760.0,81.78
"""
"""Of NIST's Statistical Reference Datasets, with the certified values below."""
CERTIFIED = {"b1": (2.3894212918e02, 2.7070075241e00), "b2": (5.5015643181e-04, 7.2668688436e-06)}
WORDS = ["task=csv", "task.path=t.csv", "task.target=y", "model=formula", "optimizer=lm", "logger=none"]
WORDS += ["callbacks.progress=null", "model.expression=b1*(1-exp(-b2*x))"]
START = "model.start={b1:500,b2:1e-4}"


@pytest.fixture
def table(workdir: Path) -> Path:
    (workdir / "t.csv").write_text(MISRA1A)
    return workdir


def fitted(*words: str) -> dict:
    """What run.json says of a fit."""
    return fit_of(*WORDS, *words)


def test_values_and_standard_errors_are_those_certified_and_engines_agree(table: Path) -> None:
    one, other = (fitted(START, f"engine={engine}") for engine in ("lightning", "vectorized"))

    assert one == other
    for row in one["parameters"]:
        value, error = CERTIFIED[row["name"]]
        assert row["value"] == pytest.approx(value, rel=1e-9)
        assert row["error"] == pytest.approx(error, rel=1e-9)
        assert [row["low"], row["high"]] == pytest.approx(
            [value - 2.178813 * error, value + 2.178813 * error], rel=1e-6
        )
    assert one["cost"] == pytest.approx(1.2455138894e-01, rel=1e-9)
    assert one["freedom"] == 12
    assert one["stopped"].startswith("step:")


def test_starts_fit_as_one_stack_to_the_bits_that_each_has_alone(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = shoal.sweep([*WORDS, START, "model.start.b1=100,250,900", "sweep.processes=0"])

    assert "3 runs: 3 in 1 stack" in capsys.readouterr().err
    for run in sweep.runs:
        b1 = run.config["model"]["start"]["b1"]
        assert run.info.engine == "vectorized"
        assert run.info.fit == fitted(START, f"model.start.b1={b1}")


def test_a_fit_that_was_interrupted_goes_on_to_the_same_end(table: Path) -> None:
    whole = shoal.train([*WORDS, START])

    part = shoal.train([*WORDS, START, "trainer.max_epochs=9"])
    gone_on = shoal.train([f"resume={part.path}", "trainer.max_epochs=2000"])

    assert gone_on.info.fit == whole.info.fit


def test_parameters_that_the_data_do_not_determine_are_named(table: Path) -> None:
    found = fitted("model.start={b1:500,b2:1e-4,b3:1}", "model.expression=b1*b3*(1-exp(-b2*x))")

    notes = {row["name"]: row["note"] for row in found["parameters"]}
    assert notes == {"b1": "not determined", "b2": "", "b3": "not determined"}
    assert found["warnings"] == ["the data do not determine b1, b3 together: the Jacobian is singular"]
    # That of the formula with one parameter in the place of the two, whose product is all that counts.
    assert found["parameters"][1]["error"] == pytest.approx(CERTIFIED["b2"][1], rel=1e-6)
    assert (found["freedom"], found["aic"]) == (12, pytest.approx(fitted(START)["aic"], rel=1e-9))


def test_more_parameters_than_samples_and_a_fit_cut_short_are_told(table: Path) -> None:
    names = [f"p{i}" for i in range(20)]
    formula = "+".join(f"{name}*(x/800)**{i}" for i, name in enumerate(names))
    start = ",".join(f"{name}:1" for name in names)

    many = fitted(f"model.expression={formula}", f"model.start={{{start}}}", "trainer.max_epochs=40")
    short = fitted(START, "trainer.max_epochs=5")

    assert many["warnings"][-1] == "20 parameters of 14 samples leave nothing to tell errors by"
    assert all(row["error"] is None for row in many["parameters"])
    assert short["stopped"] is None
    assert short["warnings"][0].startswith("this is no minimum yet (the steps have ended at a slope of 1)")


def test_a_bound_that_holds_a_parameter_is_told_and_a_start_there_moves(table: Path) -> None:
    held = fitted(START, "model.start.b1=200", "model.bounds={b1:[0,200]}")
    free = fitted(START, "model.start.b1=200", "model.bounds={b1:[200,400]}")

    assert held["parameters"][0]["value"] == 200
    assert held["parameters"][0]["note"] == "at its bound"
    assert held["warnings"] == ["b1 is at its bound, 200: its error is not known"]
    assert free["parameters"][0]["value"] == pytest.approx(CERTIFIED["b1"][0], rel=1e-8)


def test_a_parameter_that_came_to_its_bound_stays_exactly_there() -> None:
    x = 0.5 * torch.arange(24, dtype=torch.float64).expand(40, -1)
    noise = torch.randn(40, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = 5 * (-0.4 * x).exp() + 1 + 0.05 * noise
    curve = parse("a*exp(-k*x)+c", variables=("x", "a", "k", "c"))
    free = FormulaProblem.of(Formulas((curve,)), ("a", "k", "c"), {"x": x}, y[:, :, None])
    start = torch.tensor([1, 1, 0], dtype=torch.float64).expand(40, -1)
    beyond = torch.full_like(start, torch.inf)
    low = torch.where(torch.tensor([False, True, False]), 0.5, -beyond)
    usual = LevenbergMarquardt()
    limits = Tolerances(*(start.new_full((40,), each) for each in (usual.gradient, usual.step, usual.cost)))

    found = solve(replace(free, bounds=(low, beyond)), start, limits, damping=usual.damping, acceleration=True)

    assert found.params[:, 1].unique().tolist() == [0.5]


ROBUST = {
    "huber": (237.6688330904305, 0.0005537140714336407),
    "soft_l1": (237.05069002559281, 0.0005554478341746911),
    "cauchy": (239.2595492168223, 0.0005492682030088579),
}
"""What scipy 1.17.1 gives: least_squares(loss=..., f_scale=0.2), its tolerances at 1e-15."""


@pytest.mark.parametrize("loss", ROBUST)
def test_fits_by_robust_losses_are_those_of_scipy(table: Path, loss: str) -> None:
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


def test_absolute_standard_errors_of_rows_set_the_size_of_the_errors(table: Path) -> None:
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task.batch_size=4"], "optimizer=lm takes its steps of all 14 training samples\n  task.batch_size=null"),
        (["loss=mae"], "is no loss of least squares"),
        (["loss=binomial"], "loss=binomial (shoal.train): is for targets from 0 to 1, and one is 10.07"),
        (["scheduler=cosine"], "has no effect on optimizer=lm"),
        (["trainer.gradient_clip_val=1"], "has no meaning for optimizer=lm"),
        (["trainer.precision=32-true"], "is too coarse for optimizer=lm"),
    ],
)
def test_what_a_solver_cannot_follow_is_refused(table: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train([*WORDS, START, *words])

    assert told in caught.value.text()


def test_the_short_command_prints_the_table_and_keeps_a_run(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = command(["fit", "t.csv", "y = b1*(1-exp(-b2*x))", "b1=500", "b2=1e-4", "logger=none"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "b1              238.9421292         2.70701  233.0441 to 244.8402" in shown
    assert "stopped after 27 steps by step: the parameters change no more" in shown
    assert command(["show", "last"]) == 0
    assert "0.0005501564318     7.26687e-06" in capsys.readouterr().out


def test_of_a_target_that_does_not_vary_no_share_is_explained(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "t.csv").write_text("x,y\n1,5\n2,5\n3,5\n4,5\n")

    codes = [command(words) for words in (["fit", "t.csv", "y = a*x+b", "a=1", "b=1"], ["show", "last"])]

    shown = capsys.readouterr().out
    assert codes == [0, 0]
    assert len(re.findall(r"mean +0 +0 +-\s", shown)) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["b1*x", "b1=1"], "does not name the column that it is for"),
        (["y = b1*x", "b1=many"], "b1=many: the start of a parameter must be a number"),
        (["z = b1*x", "b1=1"], "task.target=z"),
        (["y = y*b1", "b1=1"], "y stands in its own formula"),
        (["y = exp*x", "exp=1"], "exp=1: 'exp' has a meaning already and can be no parameter"),
        (["y = b1*x", "b1=1", "b1=2"], "b1=1.0 and b1=2: two starts of b1"),
        (["y = b1*x", "model.start.b1=many"], "b1=many: the start of a parameter must be a number"),
        (["y = b1*x", "b1=1", "model.start={b1:2}"], "the starts are given twice"),
        (["y = b1*x", "b1=1", "model.start.b1=2"], "b1=1.0 and model.start.b1=2: two starts of b1"),
    ],
)
def test_a_wrong_word_of_the_short_command_is_told(
    table: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code = command(["fit", "t.csv", *words])

    assert code == 2
    assert told in capsys.readouterr().err


def test_a_run_by_lbfgs_finds_the_minimum_of_parameters_of_one_size(table: Path) -> None:
    found = fitted("model.expression=100*b1*(1-exp(-b2*x/1000))", "model.start={b1:1,b2:1}", "optimizer=lbfgs")

    assert found["parameters"][0]["value"] == pytest.approx(2.3894212918, rel=1e-7)


@pytest.mark.parametrize("tolerance", one_of(3, ["gradient", "step", "cost"]))
def test_runs_by_lbfgs_stop_in_a_stack_as_alone_and_say_why(table: Path, tolerance: str) -> None:
    off = [f"optimizer.{name}=0" for name in ("gradient", "step", "cost") if name != tolerance]
    words = [*WORDS, "model.expression=100*b1*(1-exp(-b2*x/1000))", "model.start={b1:1,b2:1}", "optimizer=lbfgs"]
    words += [*off, f"optimizer.{tolerance}=1e-6", "optimizer.max_iter=4", "trainer.max_epochs=60"]

    sweep = shoal.sweep([*words, "model.start.b1=1,3", "sweep.processes=0"])
    alone = [shoal.train([*words, "model.start.b1=3", f"engine={engine}"]) for engine in ("vectorized", "lightning")]

    fits = [run.info.fit for run in sweep.runs]
    assert all(run.info.engine == "vectorized" for run in sweep.runs)
    assert fits[1] == alone[0].info.fit
    for fit in (*fits, alone[1].info.fit):
        assert fit is not None
        assert fit["stopped"].startswith(f"{tolerance}:")
        assert fit["parameters"][0]["value"] == pytest.approx(2.3894212918, rel=1e-2)


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
def test_a_bootstrap_tells_of_the_errors_that_the_jacobian_does(table: Path, resampling: str) -> None:
    words = [START, "model.bootstrap=400", f"model.resampling={resampling}"]

    first, again = (fitted(*words)["bootstrap"] for _ in range(2))

    assert first == again
    assert first["failed"] == 0
    for name, (value, error) in CERTIFIED.items():
        low, high = first["intervals"][name]
        assert low < value < high
        assert first["errors"][name] == pytest.approx(error, rel=0.2)


def test_a_row_drawn_twice_counts_as_two_and_resampled_fits_stay_apart(table: Path) -> None:
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
    table: Path, capsys: pytest.CaptureFixture[str]
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


def test_two_fits_are_compared_by_their_criteria_and_an_f_test(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        shoal.train([*WORDS, f"model.expression={formula}", f"model.start={start}"])
        for formula, start in (("a*x", "{a:1}"), ("a*x+b*x**2", "{a:1,b:1}"))
    ]
    one, two = (run.info.fit for run in runs)
    capsys.readouterr()

    code = command(["compare", *(str(run.path) for run in runs)])

    shown = capsys.readouterr().out
    assert code == 0
    assert one is not None
    assert two is not None
    f = (one["cost"] - two["cost"]) / (two["cost"] / 12)
    assert f"F(1, 12) = {f:.4g}, p " in shown
    assert "weight by AIC" in shown


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


@pytest.mark.parametrize(("loss", "advised"), [("mse", True), ("cauchy", False)])
def test_a_robust_loss_is_advised_to_who_has_none(loss: str, advised: bool, table: Path) -> None:
    fit = fitted(START, f"loss={loss}") | {"normality": 0.001}

    [line] = [line for line in fit_lines(fit) if line.startswith("sizes")]

    assert line.endswith("outliers? loss=soft_l1 heeds them less" if advised else "outliers?")
