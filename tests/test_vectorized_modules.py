"""A user's own LightningModule in a sweep: it stacks where its step can be mapped, otherwise the reason is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.app.command import main
from shoal.app.nodes import constructor
from shoal.rundir import RunDir, SweepDir, read_history, read_info, read_sweep

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*"),
    pytest.mark.usefixtures("undrawn"),
]

MODULES = """
import random
import pytorch_lightning as pl
import torch
from torch import nn

class Plain(pl.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", nn.functional.mse_loss(self(x), y))

class Item(Plain):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * (1 + loss.item())

class Branches(Plain):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if loss > 1:
            loss = loss * 2
        return loss

class Draws(Plain):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + random.random())

class Recurrent(Plain):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(1, 1)

    def forward(self, x):
        return self.cells(x)[0]

class Optimizes(Plain):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)

class OptimizesOddly(Plain):
    def configure_optimizers(self):
        return torch.optim.Adagrad(self.parameters(), lr=1e-2)

class ByHand(Plain):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
"""
CONF = """
# @package _global_
defaults: [override /model: own, override /loss: own, override /optimizer: {optimizer}]
callbacks: {{progress: null}}
task:
  _target_: shoal.tasks.LightningTask
  seed: ${{seed}}
  module: {{_target_: stacking_modules.{name}}}
  samples: {{_target_: shoal.tasks.Parabola, n_samples: 60, batch_size: 16}}
"""


LINES = {
    name: MODULES.splitlines().index(line) + 1
    for name, line in {
        "Item": "        return loss * (1 + loss.item())",
        "Branches": "        if loss > 1:",
    }.items()
}
LINES["Draws"] = MODULES.splitlines().index("class Draws(Plain):") + 2
"""Where each of them does what cannot be mapped."""


@pytest.fixture
def folder(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(workdir)
    (workdir / "stacking_modules.py").write_text(MODULES)
    (workdir / "conf/task").mkdir(parents=True)
    yield workdir
    sys.modules.pop("stacking_modules", None)
    constructor.cache_clear()


def sweep(name: str, *words: str, folder: str = "sweep") -> list[RunDir]:
    text = CONF.format(name=name, optimizer="own" if name.startswith("Optimizes") else "adam")
    Path("conf/task/mine.yaml").write_text(text)
    settings = ["task=mine", "trainer.max_epochs=2", "seed=0,1", "sweep.processes=0"]
    assert main(["-m", *settings, f"hydra.sweep.dir={folder}", *words]) == 0
    found = SweepDir(Path(folder))
    return [found.run(job) for job in read_sweep(found.info).jobs]


@pytest.mark.parametrize("name", ["Plain", "Optimizes"])
def test_a_module_of_the_users_own_is_stacked(folder: Path, name: str) -> None:
    stacked = sweep(name, "trainer.precision=64-true")
    alone = sweep(name, "trainer.precision=64-true", "engine=lightning", folder="alone")

    assert [read_info(run.info).engine for run in stacked] == ["vectorized"] * 2
    for mine, other in zip(stacked, alone, strict=True):
        rows, expected = read_history(mine.history).rows, read_history(other.history).rows
        assert [set(row) for row in rows] == [set(row) for row in expected]
        assert rows == [pytest.approx(row, rel=1e-5) for row in expected]  # Lightning logs float32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Item", "stacking_modules.py:{} takes a tensor's value with .item()"),
        ("Branches", "stacking_modules.py:{} branches on a tensor's value"),
        ("Draws", "training_step (stacking_modules.py:{}) draws from a global random generator"),
        ("Recurrent", "recurrent layers cannot be mapped over a stack"),
        ("OptimizesOddly", "there is no stacked form of what OptimizesOddly.configure_optimizers makes"),
    ],
)
def test_a_module_that_cannot_be_stacked_trains_alone_and_the_line_is_named(
    folder: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sweep(name)

    assert [read_info(run.info).engine for run in runs] == ["lightning"] * 2
    assert reason.format(LINES.get(name)) in capsys.readouterr().err
