"""Formulas of several targets, and functions of the user's own that give them."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from torch import Tensor

import shoal
from fitting import fit_of
from shoal.cli import run as command
from shoal.errors import ConfigError
from shoal.models import integrated
from shoal.models.fitted_functions import OwnCode
from shoal.rundir import read_info
from shoal.tasks.code_problem import mapped
from shoal.tasks.formula_problem import FormulaProblem
from spread import one_of

pytestmark = pytest.mark.usefixtures("unrendered")
WORDS = ["task=csv", "task.path=t.csv", "model=formula", "optimizer=lm", "logger=none", "callbacks=quiet"]
BOTH = ["task.target=[left,made]", "model.start={a:1,k:1}"]
FORMULAS = "model.expression=[a*exp(-k*t),a*(1-exp(-k*t))]"
SIGMA = ["task.sigma=[sl,sm]", "task.missing=drop"]
OWN = """
import torch

def both(t, a, k):
    return a * torch.exp(-k * t), a * (1 - torch.exp(-k * t))

def cut(t, a, k):
    return a.detach() * torch.exp(-k * t), a * (1 - torch.exp(-k * t))

def numbers(t, a, k):
    return a.detach().numpy()

def short(t, a, k):
    return a * t[:3], k * t[:3]

def overwritten(t, a, k):
    grown = torch.zeros_like(t) + 0 * a
    for i in range(1, len(t)):
        grown[i] = a + k * grown[i - 1] ** 2
    return grown, grown

def implicit(t, a, k):
    y = torch.zeros_like(t)
    for _ in range(40):
        y = y - (y + a * y**3 - k * t) / (1 + 3 * a * y**2)
    return y
"""


@pytest.fixture
def table(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is left and what has been made of it, each with standard errors, of which one value is missing."""
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "own_curves.py").write_text(OWN)
    rows = [
        {
            "t": 0.5 * i,
            "left": None if i == 3 else 4 * math.exp(-0.35 * i) + 0.05 * math.sin(9 * i),
            "made": 4 * (1 - math.exp(-0.35 * i)) + 0.2 * math.cos(7 * i),
            "sl": 0.05,
            "sm": 0.2,
        }
        for i in range(12)
    ]
    pl.DataFrame(rows).write_csv("t.csv")
    return workdir


def fitted(*words: str) -> dict:
    """What run.json says of a fit."""
    return fit_of(*WORDS, *words)


def test_several_targets_are_fitted_as_their_values_below_each_other(table: Path) -> None:
    found = fitted(*BOTH, *SIGMA, FORMULAS)
    frame = pl.read_csv("t.csv")
    parts = [
        frame.select("t", y=target, s=sigma, p=pl.lit(mark)).drop_nulls()
        for target, sigma, mark in (("left", "sl", 1.0), ("made", "sm", 0.0))
    ]
    pl.concat(parts).write_csv("t.csv")
    formula = "model.expression=p*a*exp(-k*t)+(1-p)*a*(1-exp(-k*t))"
    below = fitted("task.target=y", "task.sigma=s", formula, "model.start={a:1,k:1}")

    assert found["samples"] == below["samples"] == 23
    assert found["targets"] == ["left", "made"]
    for key in ("cost", "aic", "bic", "reduced"):
        assert found[key] == pytest.approx(below[key], rel=1e-9)
    for one, other in zip(found["parameters"], below["parameters"], strict=True):
        for key in ("value", "error", "low", "high"):
            assert one[key] == pytest.approx(other[key], rel=1e-8)


def test_code_gives_the_fit_of_the_formulas_it_computes_and_their_intervals(table: Path) -> None:
    runs = [
        shoal.train([*WORDS, *BOTH, *SIGMA, words, "model.bootstrap=20"])
        for words in (FORMULAS, "model.code=own_curves.both")
    ]
    pl.DataFrame({"t": [0.25, 2.0]}).write_csv("new.csv")
    more = ["--input", "new.csv", "--interval", "0.9", "--trust", "own_curves", "--output"]
    codes = [command(["predict", str(run.path), *more, f"{i}.csv"]) for i, run in enumerate(runs)]

    one, other = (run.info.fit for run in runs)
    assert codes == [0, 0]
    assert one is not None
    assert other is not None
    for mine, theirs in zip(one["parameters"], other["parameters"], strict=True):
        assert [mine["value"], mine["error"]] == pytest.approx([theirs["value"], theirs["error"]], rel=1e-9)
    assert one["bootstrap"]["errors"] == pytest.approx(other["bootstrap"]["errors"], rel=1e-6)
    frames = [pl.read_csv(f"{i}.csv") for i in range(2)]
    assert_frame_equal(frames[0], frames[1], rel_tol=1e-8)
    widths = frames[0].select(
        left=pl.col("left_high") - pl.col("left_low"), made=pl.col("made_high") - pl.col("made_low")
    )
    assert (widths["made"] / widths["left"]).to_list() == pytest.approx([4, 4], rel=0.2)


@pytest.mark.parametrize("words", one_of(2, [FORMULAS, "model.code=own_curves.both"]))
def test_starts_of_several_targets_fit_as_one_stack_as_alone(table: Path, words: str) -> None:
    given = [*WORDS, *BOTH, *SIGMA, words]

    sweep = shoal.sweep([*given, "model.start.a=1,2,5", "sweep.processes=0"])

    for run in sweep.runs:
        alone = shoal.train([*given, f"model.start.a={run.config['model']['start']['a']}"])
        assert run.info.engine == "vectorized"
        assert run.info.fit == alone.info.fit


def test_the_short_command_takes_formulas_of_several_columns_and_code(table: Path) -> None:
    more = ["a=1", "k=1", "task.missing=drop", "--sigma", "sl,sm", "logger=none", "callbacks=quiet"]
    of_formulas = ["fit", "t.csv", "s = exp(-k*t); left = a*s; made = a-a*s", *more]
    of_code = ["fit", "t.csv", "left, made = own_curves.both", *more]
    one_by_another = ["fit", "t.csv", "left = a*exp(-k*t); made = a-left", "task.target=[left,made]", *more]

    codes = [command(words) for words in (of_formulas, of_code, one_by_another)]

    fits = [read_info(path).fit for path in sorted(Path("outputs/csv").glob("*/run.json"))]
    assert codes == [0, 0, 0]
    values = [[row["value"] for row in fit["parameters"]] for fit in fits if fit]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert values[0] == pytest.approx(values[2], rel=1e-9)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.expression=a*t+k"], "has 1 formula for 2 targets"),
        (["model.expression=[a*t+k,a*t,k*t]"], "has 3 formulas for 2 targets"),
        (["model.expression=[made=a*t; made+k,a*t]", "task.target=[left,t]"], "is a column, and a formula's name"),
        ([FORMULAS, "task.sigma=[sl,sm,sl]"], "must be one column, or one for each of the 2 targets"),
        ([FORMULAS, "task.target=[left,left]"], "must be different columns"),
        ([FORMULAS, "model.code=own_curves.both"], "cannot stand beside model.code"),
        ([], "must be given, or model.code"),
        (["model.code=own_curves.cut"], "by finite differences"),
        (["model.code=own_curves.numbers"], "gives ndarray, and must give a tensor"),
        (["model.code=own_curves.short"], "and must give (12, 2)"),
        (["model.code=own_curves.overwritten"], "has no derivative: RuntimeError: one of the variables"),
        (["model.code=own_curves.none"], "there is no own_curves.none"),
        (["model.code=own_curves.both", "+model.start.t=1"], "'t' is a column too"),
        (["model.code=own_curves.both", "~model.start.k"], "'k' is neither a column nor a parameter"),
    ],
)
def test_several_targets_that_cannot_be_fitted_are_refused(table: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train([*WORDS, *BOTH, "task.missing=drop", *words])

    assert told in caught.value.text()
    assert len(caught.value.text().splitlines()) <= 3


def test_groups_of_several_targets_share_parameters_in_code_as_in_formulas(table: Path) -> None:
    frame = pl.read_csv("t.csv").with_columns(lot=pl.Series(["one", "two"] * 6))
    frame.write_csv("t.csv")
    words = [*BOTH, *SIGMA, "model.by=lot"]

    together = [fitted(*words, "model.shared=[k]", each) for each in (FORMULAS, "model.code=own_curves.both")]
    apart = [fitted(*words, each) for each in (FORMULAS, "model.code=own_curves.both")]

    for one, other in (together, apart):
        assert [row["name"] for row in one["parameters"]] == [row["name"] for row in other["parameters"]]
        values, errors = (
            [[row[key] for row in fit["parameters"]] for fit in (one, other)] for key in ("value", "error")
        )
        assert values[0] == pytest.approx(values[1], rel=1e-8)
        assert errors[0] == pytest.approx(errors[1], rel=1e-8)


def test_an_implicit_model_is_solved_by_code(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "own_curves.py").write_text(OWN)
    y = torch.linspace(0.1, 2, 15, dtype=torch.float64)
    pl.DataFrame({"t": ((y + 0.5 * y**3) / 0.8).tolist(), "y": y.tolist()}).write_csv("t.csv")

    found = fitted("task.target=y", "model.code=own_curves.implicit", "model.start={a:1,k:1}")

    assert [row["value"] for row in found["parameters"]] == pytest.approx([0.5, 0.8], rel=1e-9)


@pytest.mark.parametrize("branches", [False, True])
def test_code_is_mapped_over_fits_and_where_it_branches_computed_one_by_one(branches: bool) -> None:
    def decayed(t: Tensor, a: Tensor, k: Tensor) -> Tensor:
        return a * t if branches and k < 0 else a * torch.exp(-k * t)

    t = torch.linspace(0, 3, 7, dtype=torch.float64)[None]
    problem = FormulaProblem.of(OwnCode(decayed, "decayed", 1), ("a", "k"), {"t": t}, torch.zeros(1, 7, 1).double())
    params = torch.tensor([[1, 0.5], [2, 0.3], [3, 0.1]], dtype=torch.float64)

    values, slopes = problem.sloped(params)

    assert (mapped(problem, params) is None) == branches
    torch.testing.assert_close(values, problem.real(problem.predictions(params)))
    torch.testing.assert_close(torch.stack(list(slopes)), problem.real(problem.slopes(params)))


def test_a_system_is_integrated_to_times_in_any_order() -> None:
    at = torch.tensor([2.0, 0.5, 1.0, 0.5], dtype=torch.float64)
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)

    found = integrated(lambda t, x, v: (v, -x), (one, zero), at, begin=0.0)

    torch.testing.assert_close(found, torch.stack([at.cos(), -at.sin()], dim=1), rtol=0, atol=1e-6)
