"""How much samples count in the loss: each class, and each row of a table, in both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

import shoal
from houses import houses
from shoal.errors import ConfigError
from shoal.loaded.run import Run
from shoal.losses import Auto, CrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError

pytestmark = pytest.mark.usefixtures("unrendered")
ENGINES = ["lightning", "vectorized"]
TASK = ["task=csv", "task.path=t.csv", "task.target=y", "callbacks=quiet", "logger=none", "task.batch_size=null"]


def classes(n: int = 80) -> pl.DataFrame:
    """Two inputs and a class that one of eight has."""
    drawn = np.random.default_rng(0)
    a, b = drawn.normal(size=(2, n)).round(3)
    label = np.where(np.arange(n) % 8 == 0, "rare", "usual")
    return pl.DataFrame({"a": a + (label == "rare"), "b": b, "y": label})


def trained(engine: str, *words: str) -> Run:
    """A run of two epochs on the table."""
    return shoal.train([*TASK, f"engine={engine}", "trainer.max_epochs=2", *words])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("setting", "weight"),
    [("balanced", [8 / 2, 8 / 14]), ("[5,1]", [5.0, 1.0]), ("[0,1]", [0.0, 1.0])],
)
def test_classes_count_as_torch_weighs_them(workdir: Path, engine: str, setting: str, weight: list[float]) -> None:
    classes().write_csv("t.csv")

    run = trained(engine, f"loss.weight={setting}", "trainer.max_epochs=1", "optimizer.lr=0.01")

    data, fresh = run.job.data, run.job.module()
    w = torch.tensor(weight)
    before = functional.cross_entropy(fresh(data.train.x), data.train.y, weight=w)
    after = functional.cross_entropy(run.model("last")(data.val.x), data.val.y, weight=w)
    row = run.metrics.row(-1, named=True)
    assert row["train/loss"] == pytest.approx(before.item(), rel=1e-5)
    assert row["val/loss"] == pytest.approx(after.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "auto"])
def test_a_column_says_how_much_each_row_counts_and_both_engines_agree(workdir: Path, loss: str) -> None:
    frame = houses(60).rename({"price": "y"})
    frame.with_columns(w=pl.int_range(pl.len()) % 4).write_csv("t.csv")
    words = ["task.weight=w", f"loss={loss}", "trainer.precision=64-true", "task.batch_size=16"]

    one, other = (trained(engine, *words) for engine in ENGINES)

    assert one.features == ("area", "rooms", "city")
    np.testing.assert_allclose(one.metrics["val/loss"].to_numpy(), other.metrics["val/loss"].to_numpy(), rtol=1e-9)
    plain = trained("lightning", *words[1:], "task.exclude=[w]")
    assert plain.metrics["val/loss"][0] != pytest.approx(one.metrics["val/loss"][0], rel=1e-3)


def test_a_row_that_counts_twice_is_one_that_is_there_twice(workdir: Path) -> None:
    frame = houses(40).rename({"price": "y"})
    words = ["task.val_fraction=0", "trainer.precision=64-true", "optimizer=sgd"]
    frame.with_columns(w=1 + pl.int_range(pl.len()) // 20).write_csv("t.csv")
    weighted = trained("lightning", *words, "task.weight=w").job

    x, y, w = weighted.batches()[0].samples.tensors
    module = weighted.module().double()
    twice = torch.cat([module.loss.each(module(x), y), module.loss.each(module(x), y)[20:]])

    assert w.mean() == pytest.approx(1)
    torch.testing.assert_close(module.measured(module(x), y, w), twice.mean())


def test_folds_with_balanced_classes_share_a_stack(workdir: Path) -> None:
    from shoal.cli import train as main

    classes().write_csv("t.csv")

    code = main(
        [
            "-m",
            *TASK,
            "loss.weight=balanced",
            "task.folds=4",
            "trainer.max_epochs=1",
            "sweep.processes=0",
            "hydra.sweep.dir=s",
        ]
    )

    alone = shoal.train(
        [*TASK, "engine=vectorized", "loss.weight=balanced", "task.folds=4", "task.fold=2", "trainer.max_epochs=1"]
    )
    assert code == 0
    runs = [shoal.load(path.parent) for path in sorted(Path("s").glob("*/run.json"))]
    assert {run.info.engine for run in runs} == {"vectorized"}
    same = next(run for run in runs if run.config["task"]["fold"] == 2)
    assert same.metrics["val/loss"].to_list() == alone.metrics["val/loss"].to_list()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["loss.weight=[1,2,3]"], r"loss\.weight=\[1\.0,2\.0,3\.0\].*must be a number for each of the 2 classes"),
        (["loss.weight=[0,0]"], "not all of them 0"),
        (["loss.weight=even"], r"loss\.weight=even.*balanced"),
        (["task.target=a", "loss.weight=balanced"], "is for classes, and the targets are numbers"),
        (["task.weight=c"], r"task\.weight=c.*no such column"),
        (["task.weight=b"], "is negative"),
        (["task.weight=y"], "is the target"),
        (["task.weight=b", "task.features=[a,b]"], "is among the features"),
        (["task.weight=zero"], "is 0 in all training rows"),
        (
            ["task.weight=one", "~loss", "+loss={_target_:torch.nn.CrossEntropyLoss}"],
            "needs a loss that gives the loss of each",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused(workdir: Path, words: list[str], says: str) -> None:
    classes().with_columns(zero=0, one=1).write_csv("t.csv")

    with pytest.raises(ConfigError, match=says) as caught:
        shoal.train([*TASK, *words])

    assert len(caught.value.text().splitlines()) <= 3


@pytest.mark.parametrize("engine", ENGINES)
def test_the_delta_of_huber_is_in_units_of_the_target(workdir: Path, engine: str) -> None:
    frame = houses(60).rename({"price": "y"})
    frame.write_csv("t.csv")
    euros = trained(engine, "loss=huber", "loss.delta=50")
    data, scale, again = euros.job.data, euros.job.task.unit, euros.evaluate("last")["val/loss"]
    frame.with_columns(y=pl.col("y") * 100).write_csv("t.csv")

    cents = trained(engine, "loss=huber", "loss.delta=5000")

    expected = functional.huber_loss(euros.model("last")(data.val.x), data.val.y, delta=50 / scale)
    assert scale > 50
    assert euros.metrics["val/loss"][-1] == pytest.approx(expected.item(), rel=1e-5)
    assert cents.metrics["val/loss"].to_list() == pytest.approx(euros.metrics["val/loss"].to_list(), rel=1e-4)
    assert again == pytest.approx(expected.item(), rel=1e-5)


def test_huber_without_a_delta_turns_linear_at_one_standard_deviation(workdir: Path) -> None:
    houses(60).rename({"price": "y"}).write_csv("t.csv")

    plain = trained("lightning", "loss=huber")
    said = trained("lightning", "loss=huber", f"loss.delta={plain.job.task.unit}")

    assert said.metrics["val/loss"].to_list() == plain.metrics["val/loss"].to_list()
    assert isinstance(plain.job.module().loss, Huber)


def test_runs_of_another_scale_share_a_stack_under_huber(workdir: Path) -> None:
    from shoal.cli import train as main

    houses(60).rename({"price": "y"}).write_csv("t.csv")
    words = [*TASK, "loss=huber", "loss.delta=50", "task.folds=3", "trainer.max_epochs=2"]

    code = main(["-m", *words, "sweep.processes=0", "hydra.sweep.dir=s"])
    alone = shoal.train([*words, "engine=vectorized", "task.fold=1"])

    runs = [shoal.load(path.parent) for path in sorted(Path("s").glob("*/run.json"))]
    assert code == 0
    assert {run.info.engine for run in runs} == {"vectorized"}
    same = next(run for run in runs if run.config["task"]["fold"] == 1)
    assert same.metrics["val/loss"].to_list() == alone.metrics["val/loss"].to_list()


@pytest.mark.parametrize(
    "loss", [MeanSquaredError(), MeanAbsoluteError(), Huber(delta=0.5), Auto(), CrossEntropy(label_smoothing=0.1)]
)
def test_weights_of_one_change_nothing(loss: Any) -> None:
    drawn = torch.Generator().manual_seed(0)
    prediction = torch.randn(50, 3, generator=drawn)
    target = (
        torch.randint(3, (50,), generator=drawn)
        if isinstance(loss, CrossEntropy)
        else torch.randn(50, 3, generator=drawn)
    )

    torch.testing.assert_close(loss.weighted(prediction, target, torch.ones(50)), loss(prediction, target))
