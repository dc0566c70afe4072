"""Formulas whose parameters differ from group to group: fits of each group by itself, and fits with common ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
import torch

import shoal
from fitting import fit_of
from shoal.cli import run as command
from shoal.errors import ConfigError
from spread import one_of

pytestmark = pytest.mark.usefixtures("unrendered")
WORDS = ["task=csv", "task.path=t.csv", "task.target=y", "model=formula", "optimizer=lm", "logger=none"]
WORDS += ["callbacks=quiet"]
FORMULA = ["model.expression=a*(1-exp(-k*x))", "model.start={a:1,k:1}"]
TRUE = {"A": (3.0, 0.7), "B": (5.0, 0.2), "north 2.5": (1.0, 1.5)}


@pytest.fixture
def table(workdir: Path) -> Path:
    """Three groups of unequal sizes, in turns, with noise that is not random."""
    rows = [
        {"site": site, "x": 0.4 * i, "y": a * (1 - math.exp(-k * 0.4 * i)) + 0.02 * math.sin(7 * i + n)}
        for i in range(14)
        for n, (site, (a, k)) in enumerate(TRUE.items())
        if i < 14 - 2 * n
    ]
    pl.DataFrame(rows).write_csv("t.csv")
    return workdir


def fitted(*words: str, formula: Sequence[str] = FORMULA) -> dict:
    """What run.json says of a fit."""
    return fit_of(*WORDS, *formula, *words)


def test_groups_with_nothing_in_common_are_fitted_as_each_alone(table: Path) -> None:
    words = ["model.by=site", "model.bootstrap=20"]
    one, other = (fitted(*words, f"engine={engine}") for engine in ("lightning", "vectorized"))
    pl.read_csv("t.csv").filter(pl.col("site") == "B").write_csv("t.csv")
    alone = fitted("model.bootstrap=20")

    assert one == other
    rows = {row["name"]: row for row in one["parameters"]}
    assert set(rows) == {f"{name}[{site}]" for name in "ak" for site in TRUE}
    for row in alone["parameters"]:
        name = f"{row['name']}[B]"
        for key in ("value", "error", "low", "high"):
            assert rows[name][key] == pytest.approx(row[key], rel=1e-10)
        assert one["bootstrap"]["errors"][name] == pytest.approx(alone["bootstrap"]["errors"][row["name"]], rel=1e-6)
    [of_group] = [each for each in one["groups"] if each["name"] == "B"]
    assert of_group["freedom"] == alone["freedom"] == 10
    assert of_group["reduced"] == pytest.approx(alone["reduced"], rel=1e-10)


def test_shared_parameters_are_those_of_one_formula_with_indicators(table: Path) -> None:
    found = fitted("model.by=site", "model.shared=[k]")
    marks = pl.read_csv("t.csv").with_columns(p=(pl.col("site") == "A").cast(int), q=(pl.col("site") == "B").cast(int))
    marks.write_csv("t.csv")
    formula = ["model.expression=(p*a+q*b+(1-p-q)*c)*(1-exp(-k*x))", "model.start={a:1,b:1,c:1,k:1}"]
    written = fitted(formula=formula)

    for row, expected in zip(found["parameters"], written["parameters"], strict=True):
        assert row["value"] == pytest.approx(expected["value"], rel=1e-9)
        assert row["error"] == pytest.approx(expected["error"], rel=1e-8)
    for key in ("cost", "freedom", "aic", "bic", "r2"):
        assert found[key] == pytest.approx(written[key], rel=1e-9)
    assert [row["name"] for row in found["parameters"]] == ["a[A]", "a[B]", "a[north 2.5]", "k"]
    assert sum(each["cost"] for each in found["groups"]) == pytest.approx(found["cost"], rel=1e-12)


def test_groups_with_a_parameter_each_are_compared_with_groups_that_share_it(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [shoal.train([*WORDS, *FORMULA, "model.by=site", f"model.shared={shared}"]) for shared in ("[]", "[k]")]
    each, common = (run.info.fit for run in runs)
    capsys.readouterr()

    code = command(["compare", *(str(run.path) for run in runs)])

    assert code == 0
    assert each is not None
    assert common is not None
    assert each["freedom"] == common["freedom"] - 2
    f = (common["cost"] - each["cost"]) / 2 / (each["cost"] / each["freedom"])
    assert f"F(2, {each['freedom']}) = {f:.4g}, p " in capsys.readouterr().out


@pytest.mark.parametrize("shared", one_of(2, ["[]", "[k]"]))
def test_starts_of_groups_fit_as_a_stack_to_the_bits_of_each_alone(table: Path, shared: str) -> None:
    words = ["model.by=site", f"model.shared={shared}", "model.bounds={k:[0,2]}"]

    sweep = shoal.sweep([*WORDS, *FORMULA, *words, "model.start.a=1,4", "sweep.processes=0"])

    for run in sweep.runs:
        assert run.info.engine == "vectorized"
        assert run.info.fit == fitted(*words, f"model.start.a={run.config['model']['start']['a']}")


def test_other_optimizers_train_groups_too(table: Path) -> None:
    words = ["model.by=site", "optimizer=adam", "trainer.max_epochs=3", "engine=vectorized"]
    run = shoal.train([*WORDS, *FORMULA, *words])

    assert run.info.final["a[B]"] != run.info.final["a[A]"]


def test_predictions_and_intervals_are_those_of_the_group(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shoal.train([*WORDS, *FORMULA, "model.by=site"])
    pl.DataFrame({"x": [1.0, 1.0, 9.0], "site": ["A", "B", "B"]}).write_csv("new.csv")
    pl.read_csv("t.csv").filter(pl.col("site") == "B").write_csv("t.csv")
    alone = shoal.train([*WORDS, *FORMULA])
    capsys.readouterr()

    for each in (run, alone):
        assert command(["predict", str(each.path), "--input", "new.csv", "--interval", "0.9"]) == 0
    shown = capsys.readouterr().out

    names = ["y", "y_low", "y_high", "y_curve_low", "y_curve_high"]
    both = [pl.read_csv(f"x,site,{part}".encode())[1:, names] for part in shown.split("x,site,")[1:]]
    torch.testing.assert_close(both[0].to_torch(), both[1].to_torch(), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.by=nowhere"], "model.by=nowhere (shoal.train): no such column"),
        (["model.by=x"], "is the column of the groups, and stands in the formula"),
        (["model.shared=[k]"], "has no meaning without groups to share them"),
        (["model.by=site", "model.shared=[a,k]"], "has no effect: all parameters are shared"),
        (["model.by=site", "model.shared=[c]"], "'c' is no parameter"),
        (["model.by=site", "model.shared=[k]", "model.fixed=[k]"], "'k' is in model.fixed too"),
    ],
)
def test_groups_that_cannot_be_are_refused(table: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train([*WORDS, *FORMULA, *words])

    assert told in caught.value.text()


def test_the_short_command_shows_what_each_group_says(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["a=1", "k=1", "--by", "site", "logger=none"]

    code = command(["fit", "t.csv", "y = a*(1-exp(-k*x))", *words])

    shown = capsys.readouterr().out
    assert code == 0
    assert "group      samples          cost      variance  R2" in shown
    assert "north 2.5       10" in shown
