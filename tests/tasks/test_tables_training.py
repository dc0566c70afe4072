"""Training on a table: its batches, its loss, and what the command line tells of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

import shoal
from houses import houses
from shoal.cli import run as shoal_command
from shoal.cli import train as main
from shoal.errors import ConfigError
from shoal.losses import Auto, CrossEntropy, MeanSquaredError
from shoal.tasks.tables import TableFile

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_a_table_with_fewer_rows_than_a_batch_trains_on_all_at_once(houses_csv: Path, engine: str) -> None:
    houses(20).write_csv(houses_csv)
    task = ["task=csv", "task.path=houses.csv", "task.target=price", "trainer.max_epochs=2", "callbacks=quiet"]

    run = shoal.train([*task, f"engine={engine}"])

    assert (run.info.epochs, run.info.steps) == (2, 2)
    with pytest.raises(ConfigError, match=r"task\.batch_size=17 \(shoal\.train\): is larger than the 16"):
        shoal.train([*task, f"engine={engine}", "task.batch_size=17"])


def test_a_table_with_more_rows_trains_on_64_at_a_time(houses_csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price", batch_size="auto")

    assert [task.training_batch(n) for n in (1, 63, 64, 65, 1000)] == [1, 63, 64, 64, 64]


def test_the_loss_follows_the_targets() -> None:
    logits, classes = torch.tensor([[1.0, 2.0]]), torch.tensor([1])

    assert Auto()(logits, classes).equal(CrossEntropy()(logits, classes))
    assert Auto()(logits, logits + 1).equal(MeanSquaredError()(logits, logits + 1))


def test_types_and_classes_are_told_and_predictions_stand_beside_the_target(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dear = pl.when(pl.col("price") > 800).then(pl.lit("yes")).otherwise(pl.lit("no"))
    gap = pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(pl.col("area")).alias("area")
    houses(100).with_columns(gap, dear=dear).drop("price").write_csv("houses.csv")
    settings = ["task=csv", "task.path=houses.csv", "task.target=dear", "task.missing=mean", "trainer.max_epochs=1"]

    trained = main([*settings, "callbacks=quiet", "logger=none"])
    shown = capsys.readouterr().out
    predicted = shoal_command(["predict", "last", "--input", "houses.csv"])

    assert (trained, predicted) == (0, 0)
    assert "classification of dear, 100 rows: 80 for training, 20 for validation, 1 missing values filled in" in shown
    assert "area   feature  number                  1 missing" in shown
    (log,) = workdir.glob("outputs/csv/*/train.log")
    assert "city   feature  category, 3 values" in log.read_text()
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == ["class", "no", "yes"]
    assert sum(int(line.split()[-1]) for line in shown.splitlines()[-2:]) == 20
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table.columns == ["area", "rooms", "city", "dear", "dear_predicted", "p_no", "p_yes"]
    assert shoal_command(["predict", "last", "--x", "120,3,Oslo,80,2,Bergen"]) == 0
    assert pl.read_csv(capsys.readouterr().out.encode())["city"].to_list() == ["Oslo", "Bergen"]
    assert shoal_command(["predict", "last", "--x", "120,three,Oslo"]) == 2
    assert "row 1: 'rooms' is 'three', which is not a finite number" in capsys.readouterr().err
    assert shoal_command(["predict", "last", "--x", "120,3"]) == 2
    assert "--x has 2 values; the model takes 3 a row: area, rooms, city" in capsys.readouterr().err
