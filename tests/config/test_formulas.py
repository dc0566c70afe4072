"""Formulas, and letters that are not English, typed on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import shoal
from shoal.config.fit_words import fit_words
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


@pytest.mark.parametrize("name", ["plain.csv", 'a"b.csv', "a\\", "a\\\\", 'a\\"', "a\\b"])
def test_the_name_of_a_table_is_the_same_whatever_is_in_it(name: str) -> None:
    path = next(word for word in fit_words(Path(name), "y = a*x", ["a=1"]) if word.startswith("task.path="))

    (override,) = OverridesParser.create().parse_overrides([path])

    assert str(override.value()) == name
