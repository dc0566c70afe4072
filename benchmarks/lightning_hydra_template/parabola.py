"""The parabola as a Lightning data module and module, in the usual way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import MeanMetric


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ParabolaData(pl.LightningDataModule):
    """Pairs (x, x^2 + noise) with x uniform in [-1, 1]."""

    def __init__(
        self,
        n_samples: int,
        noise: float,
        val_fraction: float,
        batch_size: int,
        val_batch_size: int,
        num_workers: int,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)

    def setup(self, stage: str) -> None:
        """Draw the samples."""
        x = 2 * torch.rand(self.hparams.n_samples, 1) - 1
        data = TensorDataset(x, x**2 + self.hparams.noise * torch.randn_like(x))
        fraction = self.hparams.val_fraction
        self.training, self.validation = random_split(data, [1 - fraction, fraction])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches."""
        return DataLoader(
            self.training, batch_size=self.hparams.batch_size, shuffle=True, num_workers=self.hparams.num_workers
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches in order."""
        return DataLoader(self.validation, batch_size=self.hparams.val_batch_size, num_workers=self.hparams.num_workers)


class Regression(pl.LightningModule):
    """Mean squared error with any net and optimizer."""

    def __init__(self, net: nn.Module, optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.train_loss = MeanMetric()
        self.val_loss = MeanMetric()

    def forward(self, x: Tensor) -> Tensor:
        """The net's outputs."""
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.train_loss(loss)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the loss of one batch."""
        x, y = batch
        self.val_loss(nn.functional.mse_loss(self(x), y))
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The configured optimizer over all parameters."""
        return self.optimizer(self.parameters())
