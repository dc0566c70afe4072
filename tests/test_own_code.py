"""Code of the user's own, in a folder of the user's own: checked, trained, recorded and resumed like shoal's."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import shoal
from shoal.app.command import main
from shoal.app.nodes import constructor
from shoal.app.resume import resume
from shoal.app.run import Run
from shoal.errors import ConfigError, UsageError
from shoal.record.checkpoint import load
from shoal.record.interruption import Interrupted
from shoal.rundir import Status

pytestmark = pytest.mark.usefixtures("unrendered")


MODULE = '''
import os, signal
import numpy, pytorch_lightning as pl, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Wave(pl.LightningModule):
    def __init__(self, hidden: int = 8, lr: float = 0.01, dropout: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        layers = [nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 1)]
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout)) if dropout else nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        self.log("last_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Stopped(Wave):
    """Is asked to stop in the middle of its third epoch, once."""

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 2 and batch_idx == 1 and not os.path.exists("stopped"):
            open("stopped", "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
        return super().training_step(batch, batch_idx)


class Bare(Wave):
    """Chooses no optimizer."""

    configure_optimizers = pl.LightningModule.configure_optimizers


class ByHand(Wave):
    """Steps two optimizers itself."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        first, last = self.layers[0].parameters(), self.layers[2].parameters()
        return torch.optim.SGD(first, lr=0.1), torch.optim.Adam(last, lr=0.01)


class Loaders(pl.LightningDataModule):
    def __init__(self, n: int = 80, generator: bool = False):
        super().__init__()
        self.n = n
        self.generator = torch.Generator().manual_seed(5) if generator else None
        self.scale = float(numpy.random.rand())

    def setup(self, stage):
        x = torch.rand(self.n, 1)
        self.samples = random_split(TensorDataset(x, self.scale * torch.sin(6 * x)), [0.8, 0.2])

    def train_dataloader(self):
        return DataLoader(self.samples[0], batch_size=16, shuffle=True, generator=self.generator)

    def val_dataloader(self):
        return DataLoader(self.samples[1], batch_size=16)
'''
CONF = """
# @package _global_
defaults: [override /model: own, override /loss: own, override /optimizer: {optimizer}]
callbacks: {{progress: null}}
task:
  _target_: shoal.tasks.LightningTask
  seed: ${{seed}}
  module: {{_target_: own_wave.{module}, dropout: {dropout}, lr: 0.01}}
  {data}
"""
LOADERS = "datamodule: {_target_: own_wave.Loaders, generator: false}"
SAMPLES = "samples: {_target_: shoal.tasks.Parabola, n_samples: 100, batch_size: 16}"


@pytest.fixture
def folder(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a LightningModule, and tasks that train it: `wave` and `curve`."""
    monkeypatch.syspath_prepend(workdir)
    (workdir / "own_wave.py").write_text(MODULE)
    (workdir / "conf/task").mkdir(parents=True)
    tasks = {
        "wave": {"module": "Wave", "data": LOADERS},
        "curve": {"module": "Wave", "data": SAMPLES, "dropout": 0.0},
        "stopped": {"module": "Stopped", "data": LOADERS},
        "bare": {"module": "Bare", "data": SAMPLES, "optimizer": "sgd"},
        "by_hand": {"module": "ByHand", "data": LOADERS},
    }
    for name, given in tasks.items():
        text = CONF.format(**{"optimizer": "own", "dropout": 0.1, **given})
        (workdir / f"conf/task/{name}.yaml").write_text(text)
    yield workdir
    for name in ("own_wave", "own_code"):
        sys.modules.pop(name, None)
    constructor.cache_clear()


def trained(*settings: str) -> Run:
    run = shoal.train([*settings, "trainer.max_epochs=5"] if not _ends(settings) else list(settings))
    return Run(run.path, trusted=["own_wave"])


def _ends(settings: Sequence[str]) -> bool:
    return any(setting.startswith(("trainer.max_epochs", "trainer.max_steps")) for setting in settings)


def state(run: Run) -> dict[str, Any]:
    """Weights and optimizer of the last state."""
    kept = load(run.directory.last)
    return {"weights": kept["state_dict"], "optimizers": kept["optimizer_states"], "schedulers": kept["lr_schedulers"]}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_module_that_knows_nothing_of_shoal_leaves_the_record_of_any_run(folder: Path) -> None:
    run = trained("task=wave")

    info = run.info
    assert (info.status, info.epochs, info.steps) == (Status.COMPLETED, 5, 20)
    assert info.best is not None
    assert (info.best.metric, info.best.value) == ("val_loss", run.metrics["val_loss"].min())
    assert set(run.metrics.columns) == {"step", "epoch", "train_loss", "last_loss", "val_loss", "lr", "grad_norm"}
    assert all((run.path / name).is_file() for name in ("checkpoints/best.ckpt", "figures/fit.png", "train.log"))


@pytest.mark.parametrize("task", ["wave", "curve", "by_hand", "bare", "wave task.datamodule.generator=true"])
def test_a_module_resumed_is_the_uninterrupted_one_to_the_bit(task: str, folder: Path) -> None:
    whole = trained(*f"task={task}".split())
    part = trained(*f"task={task}".split(), "trainer.max_epochs=2")

    resume(part.path, ["trainer.max_epochs=5"], trusted=["own_wave"])

    assert part.metrics.equals(whole.metrics)
    assert equal(state(part), state(whole))


def test_a_module_stopped_within_an_epoch_goes_on_from_its_beginning_to_the_bit(folder: Path) -> None:
    with pytest.raises(Interrupted):
        trained("task=stopped", "hydra.run.dir=outputs/part")
    part = Run("outputs/part", trusted=["own_wave"])
    assert load(part.directory.last)["shoal"]["position"] == [2, 0, 8]

    resume(part.path, trusted=["own_wave"])
    whole = trained("task=stopped")

    assert part.metrics.equals(whole.metrics)
    assert equal(state(part), state(whole))


def test_a_module_that_max_steps_ended_within_an_epoch_is_not_resumed_there(folder: Path) -> None:
    run = trained("task=wave", "trainer.max_steps=6")

    with pytest.raises(UsageError, match="from the middle of epoch 1"):
        resume(run.path, ["trainer.max_steps=20"], trusted=["own_wave"])


PIECES = """
from dataclasses import dataclass
import torch
from torch import nn
from shoal.tasks import Curve


@dataclass(frozen=True, kw_only=True)
class Line(Curve):
    slope: float = 2.0

    def truth(self, x):
        return self.slope * x


class Flat(Line):
    def truth(self, x):
        return x[:, 0]


class Logarithm(Line):
    def truth(self, x):
        return torch.log(x)


class Net(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, width: int = 8):
        super().__init__(nn.Linear(inputs, width), nn.Dropout(0.5), nn.Linear(width, outputs))


class Squeezed(Net):
    def forward(self, x):
        return super().forward(x)[:, 0]


class Wide(Net):
    def __init__(self):
        super().__init__(inputs=7, outputs=1)


class Descent(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr, momentum=0.9)


class Halving(torch.optim.lr_scheduler.StepLR):
    def __init__(self, optimizer, every: int = 1):
        super().__init__(optimizer, every, gamma=0.5)


def power(exponent: float = 1.5):
    return lambda prediction, target: ((prediction - target).abs() ** exponent).mean()


def each():
    return lambda prediction, target: (prediction - target) ** 2
"""
OWN = ["model/net: Net", "optimizer/descent: Descent", "scheduler/halving: Halving", "loss/power: power"]


@pytest.fixture
def pieces(folder: Path) -> Path:
    """A folder with a task, a model, an optimizer, a scheduler and a loss."""
    (folder / "own_code.py").write_text(PIECES)
    for place, name in (line.split(": ") for line in OWN):
        path = folder / f"conf/{place}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"_target_: own_code.{name}\n")
    (folder / "conf/task/line.yaml").write_text(
        "# @package _global_\ntask: {_target_: own_code.Line, n_samples: 100, batch_size: 16, slope: 3, seed: 0}\n"
    )
    return folder


def test_pieces_of_the_users_own_are_resumed_to_the_bit_though_they_draw_from_the_global_generator(
    pieces: Path,
) -> None:
    settings = ["task=line", "model=net", "optimizer=descent", "scheduler=halving", "loss=power", "callbacks=quiet"]
    whole = trained(*settings, "trainer.max_epochs=4")
    part = trained(*settings, "trainer.max_epochs=2")

    resume(part.path, ["trainer.max_epochs=4"], trusted=["own_code"])

    assert part.metrics.equals(whole.metrics)
    assert equal(state(part), state(whole))
    assert whole.metrics["lr"].to_list() == [0.1, 0.05, 0.025, 0.0125]
    assert len(Run(part.path, trusted=["own_code"]).predict([0.0, 0.5])) == 2


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("task._target_=own_code.Flat", "gives targets of the shape (80,); they must be (80, 1)"),
        ("task._target_=own_code.Logarithm", "gives y that is not finite: [nan] in row"),
        ("task._target_=own_code.Net", "is not a task"),
        ("task.slop=1", "did you mean slope?"),
        ("task.slope=steep", "must be a number"),
        ("+model.width=wide", "must be an integer"),
        ("model._target_=own_code.Squeezed", "gives outputs of the shape (2,), the task wants (2, 1)"),
        ("model._target_=own_code.Wide", "does not take inputs of the shape (2, 1): RuntimeError: mat1 and mat2"),
        ("loss._target_=own_code.each", "must give one number for a batch; it gives a tensor of the shape (2, 1)"),
        ("loss._target_=own_code.Line", "does not give a callable of (prediction, target)"),
        ("optimizer._target_=own_code.Net", "is not an optimizer"),
        ("+optimizer.lrr=1", "did you mean lr?"),
    ],
)
def test_what_is_wrong_with_a_piece_is_told_before_anything_trains(typed: str, said: str, pieces: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        trained("task=line", "model=net", "optimizer=descent", "scheduler=halving", "loss=power", typed)

    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3
    assert not Path("outputs").exists()


def test_a_file_that_chooses_other_groups_without_the_line_that_lets_it_is_told_the_line(pieces: Path) -> None:
    path = pieces / "conf/task/line.yaml"
    path.write_text("defaults: [override /model: net]\n_target_: own_code.Line\n")

    with pytest.raises(UsageError, match="the first line of such a file must be: # @package _global_"):
        trained("task=line")


def test_a_sweep_stacks_a_module_whose_step_allows_it_and_gives_what_it_gives_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precise = ["task=curve", "trainer.precision=64-true", "trainer.max_epochs=3"]

    code = main(["-m", *precise, "task.module.lr=0.01,0.02", "seed=0,1", "sweep.processes=0"])

    out = "".join(capsys.readouterr())
    assert code == 0
    assert "4 in 1 stack" in out
    assert "alone" not in out
    alone = trained(*precise, "task.module.lr=0.02", "seed=1")
    (stacked,) = [run for run in map(Run, Path("outputs/curve").glob("*/*")) if run.path.name == "0003"]
    assert stacked.info.final["val_loss"] == pytest.approx(alone.info.final["val_loss"], rel=1e-9)
    assert set(stacked.metrics.columns) == set(alone.metrics.columns)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("wave", "its samples come from data loaders"),
        ("curve task.module.dropout=0.1", "draws random numbers without a key"),
    ],
)
def test_a_sweep_says_why_a_module_trains_alone(
    task: str, why: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["-m", *f"task={task}".split(), "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"])

    assert code == 0
    assert why in "".join(capsys.readouterr())


def test_a_trained_module_evaluates_predicts_and_exports_once_it_is_trusted(folder: Path) -> None:
    run = trained("task=wave")

    from shoal.app.export import export

    assert run.evaluate() == pytest.approx({"val_loss": run.info.best.value}, rel=1e-6)  # type: ignore[union-attr]
    assert run.predict([0.1, 0.2]).columns == ["y"]
    assert export(run, "safetensors")[1] == 0
    with pytest.raises(UsageError, match=r"task\.module\._target_=own_wave\.Wave: a run directory may only name"):
        shoal.load(run.path)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer=adam", "has no effect: Wave has its own configure_optimizers\n  choose optimizer=own"),
        ("model=mlp", "has no effect: Wave is the model and computes its loss\n  choose model=own"),
        ("loss=mse", "has no effect: Wave is the model and computes its loss\n  choose loss=own"),
        ("scheduler=cosine", "has no effect: Wave has its own configure_optimizers"),
        ("optimizer.lr=0.1", "no such setting\n  optimizer has no settings"),
        ("+task.batch_size=4", "has no effect here: set it in task.datamodule"),
        ("task.module.lrr=1", "no such setting\n  did you mean lr?"),
        ("+task.module.hidden=a", "must be an integer"),
        ("+task.module.hidden=-1", "cannot be made: RuntimeError: Trying to create tensor with negative dimension -1"),
        ("task.module._target_=own_wave.Wav", "own_wave has no 'Wav'; did you mean Wave?"),
        ("task.module._target_=own_wave.Loaders", "is not a LightningModule"),
        ("task.module._target_=nowhere.Wave", "no module 'nowhere' can be imported"),
        ("task.module=null", "must be a node with a _target_"),
        ("task.datamodule=null", "Wave has no train_dataloader"),
        ("callbacks.checkpoint.every_n_train_steps=2", "is saved between epochs only"),
        ("callbacks.checkpoint.monitor=val_los", "is never logged\n  did you mean val_loss?"),
        ("task.module._target_=own_wave.Bare", "Bare has no configure_optimizers\n  for example optimizer=adam"),
    ],
)
def test_what_is_wrong_with_a_module_is_told_in_three_lines(typed: str, said: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        trained("task=wave", typed)

    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3


def test_a_metric_that_the_steps_of_a_module_never_log_is_refused_before_anything_trains(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean val_loss"):
        trained("task=curve", "callbacks.checkpoint.monitor=val_los")

    assert not Path("outputs").exists()


def test_own_is_refused_where_the_task_brings_no_module(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is for a task with a LightningModule of its own"):
        trained("task=parabola", "model=own")
