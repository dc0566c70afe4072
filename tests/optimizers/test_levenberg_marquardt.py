"""Fits by Levenberg-Marquardt: what they find and say, in both engines and by `shoal fit`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import shoal
from fitting import CERTIFIED, START, WORDS, fitted
from shoal.cli import run as command
from shoal.errors import ConfigError
from shoal.expressions import parse
from shoal.models import Formulas
from shoal.optimizers import LevenbergMarquardt
from shoal.optimizers.squares import Tolerances, solve
from shoal.tasks.formula_problem import FormulaProblem
from spread import one_of

pytestmark = pytest.mark.usefixtures("unrendered")


def test_values_and_standard_errors_are_those_certified_and_engines_agree(misra1a: Path) -> None:
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
    misra1a: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = shoal.sweep([*WORDS, START, "model.start.b1=100,250,900", "sweep.processes=0"])

    assert "3 runs: 3 in 1 stack" in capsys.readouterr().err
    for run in sweep.runs:
        b1 = run.config["model"]["start"]["b1"]
        assert run.info.engine == "vectorized"
        assert run.info.fit == fitted(START, f"model.start.b1={b1}")


def test_a_fit_that_was_interrupted_goes_on_to_the_same_end(misra1a: Path) -> None:
    whole = shoal.train([*WORDS, START])

    part = shoal.train([*WORDS, START, "trainer.max_epochs=9"])
    gone_on = shoal.train([f"resume={part.path}", "trainer.max_epochs=2000"])

    assert gone_on.info.fit == whole.info.fit


def test_parameters_that_the_data_do_not_determine_are_named(misra1a: Path) -> None:
    found = fitted("model.start={b1:500,b2:1e-4,b3:1}", "model.expression=b1*b3*(1-exp(-b2*x))")

    notes = {row["name"]: row["note"] for row in found["parameters"]}
    assert notes == {"b1": "not determined", "b2": "", "b3": "not determined"}
    assert found["warnings"] == ["the data do not determine b1, b3 together: the Jacobian is singular"]
    # That of the formula with one parameter in the place of the two, whose product is all that counts.
    assert found["parameters"][1]["error"] == pytest.approx(CERTIFIED["b2"][1], rel=1e-6)
    assert (found["freedom"], found["aic"]) == (12, pytest.approx(fitted(START)["aic"], rel=1e-9))


def test_more_parameters_than_samples_and_a_fit_cut_short_are_told(misra1a: Path) -> None:
    names = [f"p{i}" for i in range(20)]
    formula = "+".join(f"{name}*(x/800)**{i}" for i, name in enumerate(names))
    start = ",".join(f"{name}:1" for name in names)

    many = fitted(f"model.expression={formula}", f"model.start={{{start}}}", "trainer.max_epochs=40")
    short = fitted(START, "trainer.max_epochs=5")

    assert many["warnings"][-1] == "20 parameters of 14 samples leave nothing to tell errors by"
    assert all(row["error"] is None for row in many["parameters"])
    assert short["stopped"] is None
    assert short["warnings"][0].startswith("this is no minimum yet (the steps have ended at a slope of 1)")


def test_a_bound_that_holds_a_parameter_is_told_and_a_start_there_moves(misra1a: Path) -> None:
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
def test_what_a_solver_cannot_follow_is_refused(misra1a: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train([*WORDS, START, *words])

    assert told in caught.value.text()


def test_the_short_command_prints_the_table_and_keeps_a_run(misra1a: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    misra1a: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code = command(["fit", "t.csv", *words])

    assert code == 2
    assert told in capsys.readouterr().err


def test_a_run_by_lbfgs_finds_the_minimum_of_parameters_of_one_size(misra1a: Path) -> None:
    found = fitted("model.expression=100*b1*(1-exp(-b2*x/1000))", "model.start={b1:1,b2:1}", "optimizer=lbfgs")

    assert found["parameters"][0]["value"] == pytest.approx(2.3894212918, rel=1e-7)


@pytest.mark.parametrize("tolerance", one_of(3, ["gradient", "step", "cost"]))
def test_runs_by_lbfgs_stop_in_a_stack_as_alone_and_say_why(misra1a: Path, tolerance: str) -> None:
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


def test_two_fits_are_compared_by_their_criteria_and_an_f_test(
    misra1a: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
