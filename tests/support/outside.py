"""Modules and callbacks whose hooks keep things outside of themselves, and look at the gradient of the last step."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from hooked import Fitted
from own_modules import Batch
from styled import Style

SCALES: dict[str, float] = {}


class KeepsBest(Fitted):
    """Keeps the best value in its class."""

    best = float("inf")

    def on_validation_epoch_end(self) -> None:
        kept = type(self)
        kept.best = min(kept.best, float(self.layers.weight.detach().norm()))
        self.log("kept", kept.best)


class KeepsHistory(Fitted):
    """Keeps all values in a list of its class, and a number in a dictionary of its file that the first call makes."""

    history: ClassVar[list[float]] = []

    def on_train_start(self) -> None:
        SCALES.setdefault("first", float(self.layers.weight.detach()))

    def on_train_epoch_end(self) -> None:
        self.history.append(float(self.layers.weight.detach()))
        self.log("kept", sum(self.history) / SCALES["first"])

    def on_train_end(self) -> None:
        self.history.clear()
        SCALES.clear()


class CountsInDefault(Fitted):
    """Counts in a default argument."""

    def on_train_epoch_end(self, seen: list[int] = []) -> None:  # noqa: B006  (as it is written by mistake)
        seen.append(1)
        self.log("kept", float(len(seen)))
        if self.current_epoch + 1 == self.trainer.max_epochs:
            seen.clear()


class CountsInClass(pl.Callback):
    """Counts the epochs of its runs in its class."""

    n = 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        type(self).n += 1
        pl_module.log("kept", float(self.n))


class ScalesFirst(Fitted):
    """Sets once how much its penalty counts, in its file and by its own weights."""

    def on_train_start(self) -> None:
        SCALES["penalty"] = float(self.layers.weight.detach())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + SCALES["penalty"] * self.layers.weight.sum()


class CachesByEpoch(Fitted):
    """Keeps in its class how large its weight is in each epoch."""

    sizes: ClassVar[dict[int, Tensor]] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.current_epoch not in self.sizes:
            self.sizes[self.current_epoch] = self.layers.weight.detach().abs().sum()
        return super().training_step(batch, batch_idx) * self.sizes[self.current_epoch]


class TakesNext(Fitted):
    """Takes the next factor of its penalty from an iterator in its class."""

    betas = itertools.cycle([0.1, 0.2, 0.3])

    def on_train_epoch_start(self) -> None:
        self.beta = next(self.betas)


class ChangesLate(Fitted):
    """Counts in its class once its third epoch begins."""

    n = 0

    def on_train_epoch_start(self) -> None:
        if self.current_epoch > 1:
            type(self).n += 1


class LooksAtGradients(Fitted):
    """Logs what its last step has left in `.grad`, of a layer that is used and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Linear(1, 1)

    def on_train_epoch_start(self) -> None:
        self.began = self._norm()

    def on_train_epoch_end(self) -> None:
        self.log_dict({"began": self.began, "ended": self._norm(), "none": float(self.unused.weight.grad is None)})

    def _norm(self) -> float:
        grads = [each.grad for each in self.layers.parameters()]
        return float(sum(-1.0 if grad is None else 1 + grad.abs().sum() for grad in grads))


class AsksAgain(LooksAtGradients):
    """Is stepped by an optimizer that asks for the loss several times."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Ramped(TensorDataset):
    """Samples of a size that somebody sets."""

    def __getitem__(self, place: int) -> Any:
        x, y = super().__getitem__(place)
        return x * SCALES.get("samples", 1.0), y


class Ramps(Style):
    """Sets it in each epoch."""

    def on_train_epoch_start(self) -> None:
        SCALES["samples"] = 1.0 + self.current_epoch

    def train_dataloader(self) -> DataLoader[Any]:
        x = torch.linspace(0, 1, 20)[:, None]
        return DataLoader(Ramped(x, x.square()), 10)
