"""Conditions and orders over runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import make_run, make_sweep
from shoal.errors import UsageError
from shoal.review.catalog import find
from shoal.review.entries import RunEntry, runs
from shoal.review.query import ordered, where


@pytest.fixture
def entries(tmp_path: Path) -> list[RunEntry]:
    make_sweep(tmp_path, {"optimizer.lr": [0.001, 0.01, 0.1], "seed": [0, 1]}, failed=[5])
    make_run(tmp_path, name="wide", task="sin_x2", settings={"model.hidden": [64], "trainer.name": "it's"})
    return sorted(runs(find([tmp_path])), key=lambda run: run.id)


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("optimizer.lr < 0.005", ["0000", "0001"]),
        ("optimizer.lr < 0.05 and seed = 1", ["0001", "0003"]),
        ("task = 'sin_x2'", ["wide"]),
        ("task='parabola' AND NOT (optimizer.lr >= 0.01)", ["0000", "0001"]),
        ("status = 'failed'", ["0005"]),
        ("val/loss is null", ["0005"]),
        ("val/loss / 2 < 0.01 and seed = 0 and task = 'parabola'", ["0002"]),
        ("val/loss/2 < 0.01 and seed = 0 and task = 'parabola'", ["0002"]),
        ("model.hidden = '[64]'", ["wide"]),
        ("model.hidden like '[6%'", ["wide"]),
        ('"optimizer.lr" between 0.05 and 0.5 and seed in (0, 7)', ["0004"]),
        ("optimizer = 'adam' and abs(optimizer.lr - 0.1) < 1e-9 and status != 'failed'", ["0004"]),
        ("best.epoch >= 0 and best < 0.02 and seed = 1", ["0003"]),
        ("trainer.name = 'it''s'", ["wide"]),
        ("age < 1s", []),
        ("age > 10min and task = 'sin_x2'", ["wide"]),
        ("1 = 1", ["0000", "0001", "0002", "0003", "0004", "0005", "wide"]),
    ],
)
def test_a_condition_selects_the_runs_that_meet_it(condition: str, names: list[str], entries: list[RunEntry]) -> None:
    assert [run.path.name for run in where(entries, condition)] == names


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("optimizer.lrr < 1", "did you mean optimizer.lr?"),
        ("vall/loss < 1", "did you mean val/loss?"),
        ("task = parabola", "text stands in single quotes: 'parabola'"),
        ("task = 'parabola", 'not understood from "\'parabola"'),
        ("seed <", "syntax error"),
        ("seed = 1; drop table runs", "not understood from '; drop"),
        ("seed = (select 1)", "no run has select"),
        ("load_extension('x')", "no run has load_extension"),
        ("", "syntax error"),
    ],
)
def test_a_condition_that_makes_no_sense_says_where(condition: str, said: str, entries: list[RunEntry]) -> None:
    with pytest.raises(UsageError) as caught:
        where(entries, condition)

    assert said in caught.value.text()
    assert len(caught.value.text().splitlines()) <= 3


def test_runs_without_the_value_come_last_in_both_orders(entries: list[RunEntry]) -> None:
    rising = ordered(entries, "val/loss")
    falling = ordered(entries, "-val/loss")

    assert rising[-1].path.name == falling[-1].path.name == "0005"
    losses = [run.info.final["val/loss"] for run in rising[:-1]]
    assert losses == sorted(losses)
    assert [run.info.final["val/loss"] for run in falling[:-1]] == losses[::-1]


def test_values_of_mixed_types_have_an_order(tmp_path: Path) -> None:
    for name, value in (("a", "auto"), ("b", 3), ("c", 0.5), ("d", None), ("e", [1])):
        make_run(tmp_path, name=name, settings={"trainer.mixed": value})

    found = ordered(sorted(runs(find([tmp_path])), key=lambda run: run.id), "trainer.mixed")

    assert [run.id for run in found] == ["c", "b", "e", "a", "d"]


def test_a_run_with_a_damaged_config_has_no_settings_and_others_are_found(tmp_path: Path) -> None:
    make_run(tmp_path, name="whole", settings={"optimizer.lr": 0.5})
    make_run(tmp_path, name="damaged").config.write_text("a: b: c")

    assert [run.id for run in where(runs(find([tmp_path])), "optimizer.lr > 0")] == ["whole"]
