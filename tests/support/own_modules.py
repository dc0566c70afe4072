"""LightningModules and loaders as a user writes them, who knows nothing of shoal."""

from __future__ import annotations

import os
import random
import signal
import sys
from math import nan
from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

Batch = tuple[Tensor, Tensor]


class Regression(pl.LightningModule):
    """The squared error of `layers`, under the names in `losses`."""

    layers: nn.Module
    losses = ("train/loss", "val/loss")

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log(self.losses[0], loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y = batch
        self.log(self.losses[1], nn.functional.mse_loss(self(x), y))


class Illustrated(Regression):
    """Writes to its logger by hand: a curve from its step `since` on, and all else in the first step."""

    def __init__(self, lr: float = 0.01, within: str = "training", since: int = 0):
        super().__init__()
        self.layers, self.lr, self.within, self.since = nn.Linear(1, 1), lr, within, since

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.within == "training" and self.global_step >= self.since:
            self.draw(float(loss))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if self.within == "validation":
            self.draw(0.0)

    def draw(self, loss: float) -> None:
        writer, step = self.logger.experiment, self.global_step
        writer.add_scalar("mine/loss", loss, step)
        if step:
            return
        picture = torch.zeros(3, 4, 5)
        picture[0] = 1
        figure = Figure(figsize=(1, 1))
        figure.add_subplot().plot([0, 1])
        writer.add_image("mine/image", picture, step)
        writer.add_figure("mine/figure", figure, step)
        writer.add_histogram("mine/weights", self.layers.weight.detach(), step)
        writer.add_text("mine/text", "of **mine**", step)
        writer.add_scalars("mine/both", {"one": 1.0, "two": 2.0}, step)
        writer.add_hparams({"lr": self.lr}, {"mine/hparam": 3.0})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Wave(Regression):
    """Has names, an optimizer and hyperparameters of its own, and drops out."""

    losses = ("train_loss", "val_loss")

    def __init__(self, hidden: int = 8, lr: float = 0.01, dropout: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        layers = [nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 1)]
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout)) if dropout else nn.Sequential(*layers)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("last_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Lazy(Wave):
    """Sizes its first layer by the first batch."""

    def __init__(self, hidden: int = 8, lr: float = 0.01, dropout: float = 0.1):
        super().__init__(hidden, lr, dropout)
        self.layers[0] = nn.LazyLinear(hidden)


class Stopped(Wave):
    """Is asked to stop in the middle of its third epoch, once."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.current_epoch == 2 and batch_idx == 1 and not Path("stopped").exists():
            Path("stopped").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return super().training_step(batch, batch_idx)


class Struck(Wave):
    """Loses one of its processes in its third epoch."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 2 and self.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Bare(Wave):
    """Chooses no optimizer."""

    configure_optimizers = pl.LightningModule.configure_optimizers


class ByHand(Wave):
    """Steps two optimizers itself."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        first, last = self.layers[0].parameters(), self.layers[2].parameters()
        return torch.optim.SGD(first, lr=0.1), torch.optim.Adam(last, lr=0.01)


class Loaders(pl.LightningDataModule):
    """Samples of a sine, drawn from the global generators."""

    def __init__(self, n: int = 80, generator: bool = False):
        super().__init__()
        self.n = n
        self.generator = torch.Generator().manual_seed(5) if generator else None
        self.scale = float(numpy.random.rand())

    def setup(self, stage: str) -> None:
        x = torch.rand(self.n, 1)
        self.samples = random_split(TensorDataset(x, self.scale * torch.sin(6 * x)), [0.8, 0.2])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.samples[0], batch_size=16, shuffle=True, generator=self.generator)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.samples[1], batch_size=16)


class Thinned(Loaders):
    """Draws which half of the samples its data loaders have, each time that it makes them."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.whole = self.samples

    def train_dataloader(self) -> DataLoader:
        self.samples = [random_split(part, [0.5, 0.5])[0] for part in self.whole]
        return super().train_dataloader()

    def val_dataloader(self) -> DataLoader:
        return DataLoader(random_split(self.whole[1], [0.5, 0.5])[0], batch_size=16)


class Plain(Regression):
    """Can be stacked."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, 1))


class Spelled(Plain):
    """Logs a validation loss that is no number, under a name in capitals."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("valLoss", self.layers(batch[0]).mean() * torch.nan)


class Snapshots(Wave):
    """Keeps a file of its own where its Trainer says that files belong."""

    def on_train_end(self) -> None:
        (Path(self.trainer.default_root_dir) / "snapshots").mkdir()


class Talkative(Wave):
    """Logs in every way that Lightning has, and a metric that is not a number in the first epoch."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("train_loss", loss)
        self.log("by_step", loss, on_step=True)
        self.log("both", 2 * loss, on_step=True, on_epoch=True)
        self.log("by_epoch", loss, on_step=False, on_epoch=True)
        self.log("also_by_epoch", loss, on_epoch=True)
        self.log("sized", loss, batch_size=3)
        self.log("shown", loss, True)
        self.log("unseen", loss, logger=False)
        self.log_dict({"one": loss, "two": 2 * loss}, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("val_loss", loss)
        self.log("val_by_step", loss, on_step=True, on_epoch=False)
        self.log("val_both", loss, on_step=True)
        self.log("val_unseen", loss, logger=False)
        self.log("val_late", loss * self.current_epoch / self.current_epoch if self.current_epoch else loss * nan)


class Item(Plain):
    """Leaves the tensors."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * (1 + float(loss.detach()))


class ItemLater(Plain):
    """Leaves the tensors in the second epoch."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * (1 + float(loss.detach())) if self.current_epoch else loss


class Refuses(Wave):
    """Takes no step at a high rate."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.hparams.lr > 1:
            raise ValueError("too fast")
        return super().training_step(batch, batch_idx)


class Exits(Plain):
    """Ends the program."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        sys.exit("enough")


class Misspelt(Plain):
    """Has methods that nobody calls."""

    def on_train_epoch_ends(self) -> None:
        """Is meant for a hook."""

    def on_anything_else(self) -> None:
        """Is not."""


class Introduced(Plain):
    """Writes to its logger before the first step."""

    def on_fit_start(self) -> None:
        self.logger.log_hyperparams({"mine": 1})  # type: ignore[union-attr]
        self.logger.experiment.add_text("mine/name", type(self).__name__)  # type: ignore[union-attr]


class OptimizesNothing(Plain):
    """Has nothing to train with, which Lightning allows."""

    def configure_optimizers(self) -> None:
        return None


class Trips(Plain):
    """A hook that raises."""

    def on_train_epoch_end(self) -> None:
        raise ValueError("too late")


class Skips(Plain):
    """Leaves a batch out."""

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return None if batch_idx == 2 else super().training_step(batch, batch_idx)


class Branches(Plain):
    """Does what depends on a value."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if loss > 1:
            loss = loss * 2
        return loss


class Freezes(Plain):
    """Trains fewer of its layers at the beginning."""

    def on_train_epoch_start(self) -> None:
        next(self.layers.parameters()).requires_grad_(self.current_epoch > 0)


class Draws(Plain):
    """Draws from Python's generator."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (1 + random.random())


class Recurrent(Plain):
    """Remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x)[0]


class Counted(Plain):
    """Asks for the number of the batch, and writes over what it has computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (2 if int(batch_idx) < 2 else 1)


class Tied(Plain):
    """Has a weight in two layers, and a layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        one, other = nn.Linear(4, 4), nn.Linear(4, 4)
        other.weight = one.weight
        self.norm = nn.BatchNorm1d(4)
        self.layers = nn.Sequential(nn.Linear(1, 4), one, self.norm, nn.Tanh(), other, self.norm, nn.Linear(4, 1))


class Optimizes(Plain):
    """Has an optimizer that can be stacked."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Counting(torch.optim.SGD):
    """Takes shorter steps the more of them any run has taken."""

    calls = 0

    def step(self, closure: Any = None) -> Any:
        Counting.calls += 1
        for group in self.param_groups:
            group["lr"] = 1e-3 / Counting.calls
        return super().step(closure)


class OptimizesOddly(Plain):
    """Has an optimizer that cannot."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return Counting(self.parameters(), lr=1e-3)


class OptimizesItself(Plain):
    """Has an optimizer that shoal has not, of two groups, and a scheduler that knows how long the training is."""

    def configure_optimizers(self) -> Any:
        *body, head = self.layers
        groups = [
            {"params": head.parameters(), "lr": 0.02},
            {"params": [p for part in body for p in part.parameters()]},
        ]
        made = torch.optim.NAdam(groups, lr=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(made, 0.05, total_steps=steps, cycle_momentum=False)
        return [made], [{"scheduler": schedule, "interval": "step"}]


class Pictures(pl.LightningDataModule):
    """Pictures beside codes, as a dictionary."""

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        x, codes = torch.rand(12, 1, 4, 4, generator=generator), torch.arange(12) % 3
        samples = [{"picture": a, "code": b, "y": a.mean()} for a, b in zip(x, codes, strict=True)]
        return DataLoader(samples, batch_size=4)


class Seeing(pl.LightningModule):
    """Takes what the batches hold in another order, and returns two things."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(8, 1))
        self.codes = nn.Embedding(3, 1)

    def forward(self, code: Tensor, picture: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        found = self.layers(picture) + self.codes(code)
        return {"y": scale * found[:, 0], "picture": found > 0}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self(batch["code"], batch["picture"])["y"], batch["y"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Flattening(Seeing):
    """Gives its forward something else than what its batches hold."""

    def __init__(self, said: bool = False) -> None:
        super().__init__()
        self.layers = nn.Linear(16, 1)
        self.example_input_array = torch.rand(2, 16) if said else None

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self(batch["picture"].flatten(1))[:, 0], batch["y"])


def power(base: float, exponent: float) -> float:
    """A function of two places."""
    return float(base**exponent)
