"""A formula as a model: which of its names are parameters, what is refused, and that it trains as any model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import shoal
from shoal.errors import ConfigError
from shoal.expressions import names_in
from shoal.expressions.tensors import TENSORS
from shoal.models import Formula

pytestmark = pytest.mark.usefixtures("unrendered")
FORMULA = "model.expression=b1*(1-exp(-b2*x))"
WORDS = ["task=csv", "task.path=t.csv", "task.target=y", "model=formula", "callbacks=quiet", "logger=none"]
START = "model.start={b1:2,b2:0.5}"


@pytest.fixture
def table(workdir: Path) -> Path:
    """Twenty rows of the curve with b1 = 3 and b2 = 0.7, and a column that has no part in it."""
    x = torch.linspace(0, 5, 20, dtype=torch.float64)
    frame = pl.DataFrame({"who": ["a", "b"] * 10, "x": x.tolist(), "y": (3 * (1 - torch.exp(-0.7 * x))).tolist()})
    frame.write_csv("t.csv")
    return workdir


def test_names_are_what_is_neither_function_nor_constant_nor_defined() -> None:
    assert names_in("k=b1/x2; pi*exp(-k)*b2 + e*x2") == ("b1", "x2", "b2")


def test_a_formula_trains_on_the_whole_table_in_its_own_units_in_float64(table: Path) -> None:
    words = [*WORDS, FORMULA, START, "task.units={x: s, y: V}"]

    run = shoal.train([*words, "optimizer=sgd", "optimizer.lr=0.2", "trainer.max_epochs=150"])

    [b1, b2] = run.model("last").parameters()
    assert run.features == ("x",)
    assert len(run.job.data.train) == 20
    assert b1.dtype is torch.float64
    assert [b1.item(), b2.item()] == pytest.approx([3, 0.7], rel=1e-2)
    assert run.info.final["b1"] == b1.item()
    assert run.predict([0.0])["y"].to_list() == [0.0]
    assert run.info.unit == "V"


def test_starts_that_are_drawn_train_as_one_stack_as_alone(table: Path) -> None:
    words = [*WORDS, FORMULA, START, "trainer.max_epochs=3"]

    sweep = shoal.sweep([*words, "model.start.b1=interval(1,4)", "sweep.n_samples=3", "sweep.processes=0"])
    stacked = sweep.runs[1]
    start = stacked.config["model"]["start"]
    alone = shoal.train([*words, f"model.start.b1={start['b1']!r}", "engine=vectorized"])

    assert start["b2"] == 0.5
    assert start["b1"] % 1, "a start is any number, though it is written as 2"
    assert stacked.info.engine == "vectorized"
    assert stacked.metrics.equals(alone.metrics)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.start={b1:2}"], "'b2' is neither a column nor a parameter\n  a parameter needs a start"),
        (["model.start={b1:2,b2:1,b3:1}"], "'b3' does not occur in b1"),
        (["model.expression=b1*X", "model.start={b1:2}"], "'X' is neither a column nor a parameter\n  did you mean x?"),
        (["model.start={b1:2,b2:1,x:1}"], "'x' is a column too\n  rename the parameter"),
        (["model.start={b1:2,b2:-1e9}"], "the formula is -inf there at x=0.263158, and in 19 of 20 rows"),
        (["model.start=3"], "must be a number for each name"),
        ([START, "model.bounds={b1:[3,1]}"], "those of b1 must rise"),
        ([START, "model.bounds={b1:[3,null]}"], "b1 is outside its bounds, which are from 3 to inf"),
        ([START, "model.bounds={b9:[3,4]}"], "'b9' is no parameter\n  parameters: b1, b2"),
        ([START, "model.fixed=[b1,b2]"], "leaves no parameter to train"),
        ([START, "model.bootstrap=1"], "is no sample to tell errors by"),
        ([START, "task.absolute_sigma=true"], "there are no standard errors to take as they are"),
        (["model.start={b1:0,b2:1}", "loss=poisson"], "the formula is 0 in row 1, and must be above 0 for this loss"),
        (["model.expression=training*x", "model.start={training:1}"], "'training' has a meaning already"),
    ],
)
def test_a_formula_that_cannot_be_fitted_is_refused_in_three_lines(table: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train([*WORDS, FORMULA, *words])

    assert told in caught.value.text()
    assert len(caught.value.text().splitlines()) <= 3


def test_numbers_of_any_size_are_fitted_and_bounds_are_not_rounded(table: Path) -> None:
    frame = pl.read_csv("t.csv").with_columns(y=pl.col("y") * 1e60)
    frame.write_csv("t.csv")

    fit = shoal.train([*WORDS, FORMULA, "optimizer=lm", "model.start={b1:1e60,b2:1}"]).info.fit
    at_bound, fixed = (
        shoal.train([*WORDS, FORMULA, "optimizer=lm", f"model.start={{b1:1e60,b2:{b2}}}", words]).info.fit
        for b2, words in ((1, "model.bounds={b2:[0.8,2]}"), (0.8, "model.fixed=[b2]"))
    )

    assert fit is not None
    assert [row["value"] for row in fit["parameters"]] == pytest.approx([3e60, 0.7], rel=1e-9)
    assert at_bound is not None
    assert fixed is not None
    assert (at_bound["parameters"][1]["value"], at_bound["parameters"][1]["note"]) == (0.8, "at its bound")
    assert at_bound["parameters"][0]["value"] == pytest.approx(fixed["parameters"][0]["value"], rel=1e-9)


def test_a_parameter_counts_as_its_bound_beyond_it_and_a_fixed_one_stays(table: Path) -> None:
    more = ["model.bounds={b1:[null,2.5]}", "model.fixed=[b2]", "optimizer.lr=0.1", "trainer.max_epochs=60"]

    run = shoal.train([*WORDS, FORMULA, START, *more])

    assert run.info.final["b1"] == 2.5
    assert run.info.final["b2"] == 0.5
    assert run.info.parameters == 1


def test_standard_errors_of_the_rows_weigh_them(table: Path) -> None:
    frame = pl.read_csv("t.csv").with_columns(s=pl.when(pl.col("x") < 1).then(0.1).otherwise(0.2))
    frame.write_csv("t.csv")

    run = shoal.train([*WORDS, FORMULA, START, "task.sigma=s", "trainer.max_epochs=1"])

    samples = run.job.batches()[0].samples
    assert samples.weight is not None
    assert samples.weight[0] / samples.weight[-1] == pytest.approx(4)
    with pytest.raises(ConfigError, match="cannot stand beside"):
        shoal.train([*WORDS, FORMULA, START, "task.sigma=s", "task.weight=s"])


class Doubled(torch.autograd.Function):
    """The hyperbolic cosine with a derivative that is twice what it should be."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.cosh(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        [x] = ctx.saved_tensors
        return 2 * grad * torch.sinh(x)


def test_an_implicit_formula_is_fitted_to_a_column_of_zeros(table: Path) -> None:
    pl.read_csv("t.csv").with_columns(zero=pl.lit(0)).write_csv("t.csv")
    formula = ["task.target=zero", "model.expression=y-b1*(1-exp(-b2*x))", START]

    run = shoal.train([*WORDS, *formula, "optimizer=lm"])

    assert [run.info.final[name] for name in ("b1", "b2")] == pytest.approx([3, 0.7], rel=1e-9)


def test_a_wrong_derivative_is_refused_before_it_trains(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TENSORS, "cosh", Doubled.apply)

    with pytest.raises(ConfigError, match=r"d/db at x=0, b=0\.7 is .* by autograd"):
        shoal.train([*WORDS, "model.expression=cosh(b+x)", "model.start={b:0.7}"])


def test_a_formula_says_what_it_is_made_of() -> None:
    formula = Formula(expression="a=p*x; a+q", start={"q": 1.0, "p": 2.0}, fixed=("q",))

    assert formula.trained == ("p",)
    assert formula.columns == ("x",)
