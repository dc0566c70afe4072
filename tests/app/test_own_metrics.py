"""A callback that watches a metric which a LightningModule of the user's own never logs is told in words, and early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from own_tasks import own_task
from shoal.errors import ConfigError

MODULE = """
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Plain(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.layer(x), y)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        error = self.layer(x) - y
        self.log_dict({"val_loss": error.square().mean(), "val_mae": error.abs().mean()})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Hooked(Plain):
    def on_validation_epoch_end(self):
        self.log("val_score", 1.0)


class Points(pl.LightningDataModule):
    def samples(self):
        return DataLoader(TensorDataset(torch.linspace(0, 1, 16)[:, None], torch.ones(16, 1)), batch_size=8)

    train_dataloader = val_dataloader = samples
"""
CONF = """# @package _global_
defaults: [override /model: own, override /loss: own, override /optimizer: own]
task:
  _target_: shoal.tasks.LightningTask
  module: {_target_: own_metrics.Plain}
  datamodule: {_target_: own_metrics.Points}
trainer: {max_epochs: 2}
"""
STOPPING = ["task=points", "callbacks=early_stopping", "callbacks.progress=null"]
HOOKED = "task.module._target_=own_metrics.Hooked"


@pytest.fixture
def folder(workdir: Path) -> Iterator[Path]:
    with own_task(workdir, module="own_metrics", code=MODULE, task="points", conf=CONF) as here:
        yield here


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["callbacks.early_stopping.monitor=val/loss"],
            "early_stopping.monitor=val/loss (.*): is never logged\n  did you mean val_loss",
        ),
        (["callbacks.early_stopping.monitor=val_ma"], "monitor=val_ma (.*): is never logged\n  did you mean val_mae"),
        (["callbacks.early_stopping=null", "callbacks.checkpoint.monitor=loss"], "logged are: .*train_loss_epoch"),
    ],
)
def test_what_the_steps_never_log_is_refused_before_anything_trains(typed: list[str], said: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        shoal.train([*STOPPING, *typed])

    assert raised.match(said.replace("(.*)", r"\(.*\)"))
    assert len(raised.value.text().splitlines()) <= 3
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("often", ["trainer.check_val_every_n_epoch=2", "trainer.val_check_interval=0.5"])
def test_what_a_hook_might_have_logged_is_refused_once_it_has_not(often: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        shoal.train([*STOPPING, HOOKED, "callbacks.early_stopping.monitor=val_scor", often])

    assert "callbacks.early_stopping.monitor=val_scor" in raised.value.text()
    assert "did you mean val_score?" in raised.value.text()
    assert len(raised.value.text().splitlines()) <= 3


@pytest.mark.parametrize(
    "typed",
    [[HOOKED, "callbacks.early_stopping.monitor=val_score"], ["callbacks.early_stopping.monitor=train_loss_epoch"]],
)
def test_what_is_logged_is_watched(typed: list[str], folder: Path) -> None:
    run = shoal.train([*STOPPING, *typed, "trainer.max_epochs=1"])

    assert run.status.value == "completed"
