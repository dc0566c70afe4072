"""`monitor: auto` finds what a run is judged by, in both engines: for early stopping and a plateau, by any name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from own_tasks import own_task
from shoal.app.resume import resume
from shoal.errors import ConfigError
from shoal.rundir import RunDir, read_history, read_info

MODULE = """
import pytorch_lightning as pl
import torch
from torch import nn


class Scored(pl.LightningModule):
    # Its score is best while the loss still falls, so that what watches the loss goes on.

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def loss(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", 1 - (self.loss(batch) - 0.4).abs())


class Hooked(Scored):
    # What it logs is known to its training alone.

    def on_train_epoch_end(self):
        self.log("n", 1.0)


class Unjudged(Scored):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.log("q", self.loss(batch))

    def validation_step(self, batch, batch_idx):
        self.log("p", self.loss(batch))
"""
CONF = """# @package _global_
defaults: [override /model: own, override /loss: own, override /optimizer: sgd, override /callbacks: early_stopping]
task:
  _target_: shoal.tasks.LightningTask
  module: {_target_: auto_monitors.Scored}
  samples: {_target_: shoal.tasks.Parabola, n_samples: 100, batch_size: 20, seed: 0}
optimizer: {lr: 0.01}
callbacks: {progress: null, early_stopping: {patience: 3}}
trainer: {max_epochs: 40}
"""
HOOKED = "task.module._target_=auto_monitors.Hooked"


@pytest.fixture
def folder(workdir: Path, undrawn: None) -> Iterator[Path]:
    with own_task(workdir, module="auto_monitors", code=MODULE, task="scored", conf=CONF) as here:
        yield here


@pytest.mark.parametrize("words", [["scheduler=plateau", "scheduler.patience=0"], [HOOKED]])
def test_early_stopping_and_a_plateau_watch_an_accuracy_in_both_engines(words: list[str], folder: Path) -> None:
    words = ["task=scored", *words]

    alone = shoal.train([*words, "hydra.run.dir=alone"])
    swept = shoal.sweep([*words, "seed=0,1", "hydra.sweep.dir=sweep", "sweep.processes=0"]).runs[0]

    scores, rates = alone.metrics["val_acc"].to_list(), alone.metrics["lr"].to_list()
    best = scores.index(max(scores))
    assert 2 < best < 30
    assert len(scores) == best + 4
    assert (rates[best + 2] < rates[0]) == (HOOKED not in words)
    assert swept.info.engine == "vectorized"
    assert swept.metrics["val_acc"].to_list() == pytest.approx(scores)
    assert swept.metrics["lr"].to_list() == rates
    assert [each.info.best.metric for each in (alone, swept) if each.info.best] == ["val_acc", "val_acc"]


def test_a_resumed_run_waits_on_although_auto_is_not_known_yet(folder: Path) -> None:
    words = ["task=scored", HOOKED]
    whole = shoal.train([*words, "hydra.run.dir=whole"])
    length = whole.info.epochs

    shoal.train([*words, f"trainer.max_epochs={length - 2}", "hydra.run.dir=part"])
    resume(Path("part"), ["trainer.max_epochs=40"], trusted=["auto_monitors"])

    assert read_info(RunDir(Path("part")).info).epochs == length
    assert read_history(RunDir(Path("part")).history).rows == read_history(RunDir(whole.path).history).rows


def test_auto_is_refused_where_nothing_that_is_logged_judges(folder: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to judge by") as caught:
        shoal.train(["task=scored", "task.module._target_=auto_monitors.Unjudged"])

    assert caught.value.key == "callbacks.early_stopping.monitor"
