"""What `shoal predict` says beside its predictions, and training of the precision it computes in."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

import shoal
from shoal.cli import run
from shoal.errors import Caution, ShoalError


def table(rows: list[str]) -> str:
    return "\n".join(["area,city,day,price", *rows]) + "\n"


@pytest.fixture
def houses(workdir: Path) -> Path:
    """A run on a table with missing values, and rows to predict in new.csv."""
    days = [date(2020, 1, 1) + timedelta(days=9 * i) for i in range(60)]
    cities = ["Oslo", "Bergen", ""]
    rows = [f"{i + 1},{cities[i % 3]},{day},{30 * i + 0.5}" for i, day in enumerate(days)]
    (workdir / "t.csv").write_text(table(rows))
    words = ["task=csv", "task.path=t.csv", "task.target=price", "task.missing=mean", "task.val_fraction=0"]
    shoal.train([*words, "trainer.max_epochs=30", "optimizer.lr=0.02", "hydra.run.dir=run"])
    return workdir


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What is told beside the predictions."""
    capsys.readouterr()
    assert run(["predict", *words]) == 0
    return capsys.readouterr().err.splitlines()


def test_rows_like_those_of_the_training_are_predicted_without_a_word(
    houses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (houses / "new.csv").write_text(table(["1,Oslo,2020-01-01,", "60,Bergen,2021-01-01,", "63,Oslo,2021-06-10,"]))

    assert said(capsys, "run", "--input", "new.csv") == []


def test_columns_far_outside_the_training_and_values_filled_in_are_named(
    houses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (houses / "new.csv").write_text(table(["5,,2020-03-01,", "900,Oslo,2031-01-01,", "-90,Oslo,2020-01-01,"]))

    words = said(capsys, "run", "--input", "new.csv", "--output", "out.csv")

    assert words == [
        "warning: 2 of 3 rows are far outside what the run was trained on: area 900 in 2 rows (trained on 1 to 60), "
        "day 2031 in 1 row (trained on 2020 to 2021.45)",
        "warning: missing values were filled in: city in 1 row with Bergen",
        "3 predictions in out.csv",
    ]


@pytest.mark.parametrize(("x", "n"), [("0.5,1.1", 0), ("0.5,1.9,-7", 2)])
def test_inputs_outside_the_interval_of_generated_samples_are_named(
    x: str, n: int, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["trainer.max_epochs=9", "task.n_samples=400", "task.batch_size=16", "optimizer.lr=0.01"]
    for task in (["task=parabola"], ["task=function", "task.expression=2*x", "task.domain=[-1,1]"]):
        path = shoal.train([*task, *small]).path

        words = said(capsys, str(path), "--x", x)

        assert len(words) == bool(n)
        assert all(f"{n} of 3 rows are far outside" in word for word in words)
        assert said(capsys, str(path), "--x", "nan") == ["warning: 1 of 1 predictions are not finite"]


def test_a_model_no_better_than_the_mean_and_a_diverged_one_are_told(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shoal.train(["task=iris", "trainer.max_epochs=1", "optimizer.lr=1e-9", "hydra.run.dir=idle"])
    with pytest.raises(ShoalError, match="the run diverged"):
        shoal.train(["task=parabola", "optimizer=sgd", "optimizer.lr=1e9", "hydra.run.dir=lost"])

    (idle,), (lost,) = said(capsys, "idle", "--x", "5,3,4,1"), said(capsys, "lost", "--x", "0.5")
    with pytest.warns(Caution) as warned:
        shoal.load("lost").predict([0.5])

    assert idle.startswith("warning: the model is no better than one that always says the shares of the classes")
    assert lost.startswith("warning: this run diverged (val/loss is ")
    assert [f"warning: {each.message}" for each in warned] == [lost]


def test_a_precision_that_a_cpu_has_not_is_told_once_and_recorded_as_it_is(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=parabola", "trainer.max_epochs=1", "trainer.precision=16-mixed"]

    mixed = shoal.train(words).info.hardware["precision"]
    alone = capsys.readouterr().err
    sweep = shoal.sweep([*words, "seed=0,1", "sweep.processes=0"])
    together = capsys.readouterr().err

    assert (mixed, {each.info.hardware["precision"] for each in sweep.runs}) == ("bf16-mixed", {"bf16-mixed"})
    assert alone.count("trainer.precision=16-mixed is bf16-mixed here") == 1
    assert together.count("warning  trainer.precision=16-mixed is bf16-mixed here") == 1
