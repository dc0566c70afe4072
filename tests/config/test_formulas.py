"""Formulas, and letters that are not English, typed on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from shoal.config.quoting import quoted


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("task.expression=sin(x)*x**2", 'task.expression="sin(x)*x**2"'),
        ("task.expression=max(x,1)", 'task.expression="max(x,1)"'),
        ("task.expression=sin(x),max(x, 0)", 'task.expression="sin(x)","max(x, 0)"'),
        ("+task.expression=x", '+task.expression="x"'),
        ('task.expression="cos(x)"', 'task.expression="cos(x)"'),
        ("task.expression=${other}", "task.expression=${other}"),
        ("task.noise=0.1", "task.noise=0.1"),
        ("task.target=größe", 'task.target="größe"'),
        ("task.features=[größe, b,große Stadt]", 'task.features=["größe", b,"große Stadt"]'),
        ("task.target='größe'", "task.target='größe'"),
        ("--multirun", "--multirun"),
    ],
)
def test_what_needs_quotes_is_quoted_and_each_of_several_by_itself(typed: str, read: str) -> None:
    assert quoted([typed]) == [read]


def test_a_formula_needs_no_quotes_of_its_own(workdir: Path) -> None:
    run = shoal.train(["task=function", "task.expression=x1*sin(x2)", "trainer.max_epochs=1", "callbacks=quiet"])

    assert run.features == ("x1", "x2")
    assert run.config["task"]["expression"] == "x1*sin(x2)"
