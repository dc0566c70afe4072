"""Measuring a trained run again: the file it was trained on, wherever it is, its test part, and other tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

import shoal
from houses import houses
from shoal.cli import run as shoal_command
from shoal.errors import ConfigError, UsageError
from shoal.loaded.run import Run
from shoal.tasks import Parabola
from shoal.tasks.tables import TableFile

pytestmark = pytest.mark.usefixtures("unrendered")
TASK = ["task=csv", "task.path=houses.csv", "task.target=price", "callbacks=quiet", "logger=none"]


def trained(*words: str) -> Run:
    """A run of a few epochs on the houses, in the directory r."""
    return shoal.train([*TASK, "trainer.max_epochs=3", "optimizer.lr=0.01", "hydra.run.dir=r", *words])


def test_a_file_that_has_changed_is_not_measured_as_if_it_had_not(
    houses_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained()
    houses().sample(fraction=1, shuffle=True, seed=1).write_csv(houses_csv)
    capsys.readouterr()

    code = shoal_command(["eval", "r"])

    shown = capsys.readouterr()
    assert code == 2
    assert shown.out == ""
    assert "houses.csv has changed since the run began: SHA-256 " in shown.err
    assert "shoal eval r --input FILE" in shown.err
    assert len(shown.err.splitlines()) <= 3


def test_the_file_of_the_training_is_measured_where_it_is_now(
    houses_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained().evaluate()
    houses_csv.rename("moved.csv")
    capsys.readouterr()

    gone = shoal_command(["eval", "r"])
    missing = capsys.readouterr().err
    code = shoal_command(["eval", "r", "--input", "moved.csv"])

    shown = capsys.readouterr()
    assert (gone, code) == (2, 0)
    assert "where it is now, or another table with targets: shoal eval r --input FILE" in missing
    assert "moved.csv is what the run was trained on: measured are its validation rows" in shown.err
    assert shown.out.splitlines() == [f"{name}\t{value:.6g}" for name, value in before.items()]


def test_all_rows_of_another_table_are_measured_as_their_predictions_are(houses_csv: Path) -> None:
    run = trained()
    other = houses(50, seed=7)
    other.with_columns(price=pl.when(pl.int_range(50) == 3).then(None).otherwise(pl.col("price"))).write_csv("n.csv")
    houses_csv.unlink()

    found = run.evaluate(path="n.csv")

    rows = other.filter(pl.int_range(50) != 3)
    error = run.predict(rows)["price"] - rows["price"]
    assert list(found) == ["input/loss", "input/rmse", "input/mae", "input/r2"]
    assert found["input/rmse"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-4)
    assert found["input/mae"] == pytest.approx(error.abs().mean(), rel=1e-4)


def test_a_table_is_predicted_and_measured_in_the_precision_of_its_training(houses_csv: Path) -> None:
    run = trained("trainer.precision=64-true")
    houses(20, seed=7).write_csv("n.csv")

    predicted = run.predict(houses(20, seed=7))["price"].to_numpy()
    found = run.evaluate(path="n.csv")

    module, data = run.job.module().double(), run.job.data
    module.load_state_dict(run.module().state_dict())
    assert {param.dtype for param in run.model().parameters()} == {torch.float64}
    error = predicted - houses(20, seed=7)["price"].to_numpy()
    assert found["input/rmse"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-12)
    with torch.no_grad():
        outputs = module.model(run.trained().task.encode(houses(20, seed=7).to_dict(as_series=False)).double())
    expected = run.job.task.decode(outputs, data)["price"]
    assert predicted.tolist() == pytest.approx(expected, rel=1e-6)


def test_classes_of_another_table_are_weighted_as_those_of_the_training(workdir: Path) -> None:
    dear = houses(120).with_columns(dear=pl.when(pl.col("price") > 900).then(pl.lit("yes")).otherwise(pl.lit("no")))
    dear.drop("price").write_csv("houses.csv")
    run = trained("task.target=dear", "loss.weight=balanced")
    other = dear.drop("price").head(60)
    other.write_csv("n.csv")

    found = run.evaluate(path="n.csv")

    hits = run.predict(other.drop("dear"))["dear"] == other["dear"]
    counts = run.job.task.class_counts
    weight = counts.sum() / (2 * counts)
    y = torch.tensor((other["dear"] == "yes").to_list()).long()
    logits = run.model()(run.job.task.encode(other.to_dict(as_series=False), run.job.data))
    assert found["input/accuracy"] == hits.mean()
    assert found["input/loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(logits, y, weight=weight).item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("area,rooms,price\n1,2,3\n", "no column 'city' in the input"),
        ("area,rooms,city\n1,2,Oslo\n", "no column 'price' in the input"),
        ("area,rooms,city,price\n1,2,Oslo,\n1,2,Olso,3\n", "row 2: 'city' is 'Olso', which training never saw"),
        ("area,rooms,city,price\n1,2,Oslo,\n", "no row has a value for 'price'"),
        ("area;rooms;city;price\n1;2;Oslo;5\n", "columns seem not to be separated by a comma"),
    ],
)
def test_a_table_that_cannot_be_measured_is_told_why(houses_csv: Path, text: str, says: str) -> None:
    run = trained("trainer.max_epochs=1")
    Path("n.csv").write_text(text)

    with pytest.raises(UsageError) as caught:
        run.evaluate(path="n.csv")

    assert says in caught.value.text()
    assert "task." not in caught.value.text()


def test_a_run_that_was_not_trained_on_a_table_has_none_to_be_measured_on(workdir: Path) -> None:
    run = shoal.train(["task=parabola", "trainer.max_epochs=1", "callbacks=quiet", "logger=none"])
    Path("n.csv").write_text("x,y\n1,2\n")

    with pytest.raises(UsageError, match="--input is for tables"):
        run.evaluate(path="n.csv")
    with pytest.raises(UsageError, match="has no test part"):
        run.evaluate(test=True)


def numbered(n: int = 200) -> pl.DataFrame:
    """The houses with a price that tells the row."""
    return houses(n).with_columns(price=pl.int_range(n) + 0.5)


def rows_of(task: TableFile, part: str) -> set[int]:
    """The rows of one part of the samples."""
    samples = getattr(task.data(), part)
    return {round(price - 0.5) for price in task.decode(samples.y, task.data())["price"]} if samples else set()


def test_the_test_part_is_the_same_for_every_seed_and_fold_and_held_apart(houses_csv: Path) -> None:
    numbered().write_csv(houses_csv)
    settings = [(0, {}), (1, {}), (2, {"folds": 3, "fold": 1}), (3, {"val_fraction": 0.0})]
    tasks = [TableFile(path="houses.csv", target="price", test_fraction=0.25, seed=n, **more) for n, more in settings]

    parts = [[rows_of(task, part) for part in ("train", "val", "test")] for task in tasks]

    for train, val, test in parts:
        assert test == parts[0][-1]
        assert train | val | test == set(range(200))
        assert len(train) + len(val) + len(test) == 200
    assert len(parts[0][-1]) == 50
    assert "120 for training, 30 for validation, 50 for the test" in tasks[0].description()
    assert parts[0][0] != parts[1][0]


def test_nothing_of_a_training_follows_from_the_rows_of_the_test(houses_csv: Path) -> None:
    numbered().write_csv(houses_csv)
    words = ["task.test_fraction=0.25", "trainer.max_epochs=2"]
    first = trained(*words)
    before, data = first.metrics, first.job.data
    spoilt = pl.int_range(200).is_in(list(rows_of(first.job.task, "test")))
    numbered().with_columns(
        area=pl.when(spoilt).then(1e4).otherwise("area"), price=pl.when(spoilt).then(-1e6).otherwise("price")
    ).write_csv(houses_csv)

    other = shoal.train([*TASK, *words, "optimizer.lr=0.01", "hydra.run.dir=other"])

    assert other.metrics.equals(before)
    assert other.model("last")(data.train.x).equal(first.model("last")(data.train.x))


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_the_test_part_is_measured_by_eval_alone(
    houses_csv: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    run = trained("task.test_fraction=0.25", f"engine={engine}")
    capsys.readouterr()

    code = shoal_command(["eval", "r", "--test"])

    shown = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    data, task = run.job.data, run.job.task
    expected = task.metrics(run.model()(data.test.x).detach(), data.test.y)
    assert code == 0
    assert list(shown) == ["test/loss", "test/rmse", "test/mae", "test/r2"]
    assert float(shown["test/rmse"]) == pytest.approx(expected["rmse"], rel=1e-4)
    assert not [name for name in run.metrics.columns if "test" in name]
    assert "test" not in str(run.info.final) + str(run.info.assessment)


def test_a_file_of_its_own_for_the_test_is_read_as_that_of_the_training(houses_csv: Path) -> None:
    other = houses(50, seed=7)
    other.write_csv("held_out.csv")

    run = trained("task.test_path=held_out.csv")
    found = run.evaluate(test=True)

    error = run.predict(other)["price"] - other["price"]
    assert found["test/rmse"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-4)
    assert len(run.job.data.train) == 160
    for text, says in [("area,rooms,price\n1,2,3\n", "no column 'city'"), ("", "is empty")]:
        Path("held_out.csv").write_text(text)
        with pytest.raises(ConfigError, match=says) as caught:
            TableFile(path="houses.csv", target="price", test_path="held_out.csv").data()
        assert caught.value.key == "task.test_path"
    with pytest.raises(ConfigError, match=r"cannot stand beside task\.test_path"):
        TableFile(path="houses.csv", target="price", test_path="held_out.csv", test_fraction=0.1)


def test_a_limit_of_test_batches_is_refused_without_a_test_part(houses_csv: Path) -> None:
    limited = trained("task.test_fraction=0.25", "task.val_batch_size=10", "trainer.limit_test_batches=2")

    found = limited.evaluate(test=True)

    data, task = limited.job.data, limited.job.task
    first = task.metrics(limited.model()(data.test.x[:20]).detach(), data.test.y[:20])
    assert found["test/mae"] == pytest.approx(first["mae"], rel=1e-4)
    with pytest.raises(ConfigError, match=r"trainer\.limit_test_batches=2.*there is no test part"):
        trained("trainer.limit_test_batches=2")
    with pytest.raises(ConfigError, match=r"trainer\.limit_predict_batches=2.*has no effect"):
        trained("trainer.limit_predict_batches=2")


def test_a_task_of_generated_samples_keeps_a_test_part_too() -> None:
    plain, kept = Parabola(n_samples=100), Parabola(n_samples=100, test_fraction=0.2)

    data = kept.data()

    assert [len(part) for part in (data.train, data.val, data.test)] == [64, 16, 20]
    assert kept.n_train(100) == 64
    assert plain.data().test is None
    every = torch.cat([data.train.x, data.val.x, data.test.x])
    assert every.sort(0).values.equal(torch.cat([plain.data().train.x, plain.data().val.x]).sort(0).values)
    with pytest.raises(ConfigError, match="leaves no test samples of 100"):
        Parabola(n_samples=100, test_fraction=0.001).data()


def test_the_test_data_of_a_module_of_ones_own_are_measured_by_its_own_step(workdir: Path) -> None:
    Path("mine.py").write_text(OWN)
    Path("conf/task").mkdir(parents=True)
    Path("conf/task/mine.yaml").write_text(OWN_TASK)

    run = shoal.train(["task=mine", "trainer.max_epochs=1", "logger=none", "callbacks=quiet"], config_dir="conf")

    assert shoal.load(run.path, trusted=["mine"]).evaluate(test=True) == {"test/mean": 3.0}


OWN = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def training_step(self, batch, i):
        loss = ((self.net(batch[0]) - batch[0]) ** 2).mean()
        self.log("train/loss", loss)
        return loss

    def test_step(self, batch, i):
        self.log("test/mean", batch[0].mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=4)

    def test_dataloader(self):
        return DataLoader(TensorDataset(torch.full((4, 1), 3.0)), batch_size=4)
"""
OWN_TASK = """# @package _global_
defaults:
  - override /model: own
  - override /loss: own
  - override /optimizer: own
task:
  _target_: shoal.tasks.LightningTask
  seed: ${seed}
  module:
    _target_: mine.Net
"""
