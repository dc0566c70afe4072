"""Intervals by the profile likelihood."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fitting import fit_of
from shoal.tails import t_quantile

pytestmark = pytest.mark.usefixtures("unrendered")
WORDS = ["task=csv", "task.path=t.csv", "task.target=y", "model=formula", "optimizer=lm", "logger=none"]
WORDS += ["callbacks=quiet", "model.profile=true"]
CURVE = "model.expression=b1*(1-exp(-b2*x))"


@pytest.fixture
def table(workdir: Path) -> Path:
    """A curve that is almost straight, with noise that is not random."""
    x = [78.0, 115.0, 141.0, 191.0, 240.0, 289.0, 333.0, 378.0]
    y = [10.4, 14.3, 18.1, 24.2, 29.1, 35.7, 39.8, 45.3]
    pl.DataFrame({"x": x, "y": y}).write_csv("t.csv")
    return workdir


def fitted(*words: str) -> dict:
    """What run.json says of a fit."""
    return fit_of(*WORDS, *words)


def test_the_profile_of_a_straight_formula_is_students_interval(table: Path) -> None:
    found = fitted("model.expression=a+b*x", "model.start={a:0,b:1}")

    for row in found["parameters"]:
        assert found["profile"][row["name"]] == pytest.approx((row["low"], row["high"]), rel=1e-7)


def test_a_profile_ends_where_the_cost_has_grown_by_t_squared_variances(table: Path) -> None:
    found = fitted(CURVE, "model.start={b1:200,b2:5e-4}", "model.confidence=0.8")
    [low, high] = found["profile"]["b1"]

    held = [fitted(CURVE, f"model.start={{b1:{end!r},b2:5e-4}}", "model.fixed=[b1]") for end in (low, high)]

    middle = found["parameters"][0]["value"]
    assert high - middle > 1.3 * (middle - low)
    for each in held:
        grown = (each["cost"] - found["cost"]) / found["reduced"]
        assert grown == pytest.approx(t_quantile(0.8, 6) ** 2, rel=1e-6)


def test_an_end_that_is_nowhere_or_at_a_bound_is_told(table: Path) -> None:
    free, held = (
        fitted(CURVE, "model.start={b1:200,b2:5e-4}", "model.confidence=0.999", f"model.bounds={{b1:[null,{most}]}}")
        for most in ("null", "1e4")
    )

    assert free["profile"]["b1"][1] is None
    assert held["profile"]["b1"][1] == 1e4
    assert held["profile"]["b1"][0] == pytest.approx(free["profile"]["b1"][0], rel=1e-6)
