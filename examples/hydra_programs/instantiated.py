"""A Hydra program in the style of LightningCLI, which knows nothing of shoal: everything is instantiated.

python instantiated.py -m hydra/launcher=shoal seed_everything='range(16)' model.width=8,32
"""

from __future__ import annotations

from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy


class Blobs(pl.LightningDataModule):
    """Points around three centers."""

    def __init__(self, n: int, batch_size: int) -> None:
        super().__init__()
        self.n, self.batch_size = n, batch_size

    def setup(self, stage: str) -> None:
        """Draw the points, the same in every job."""
        drawn = torch.Generator().manual_seed(0)
        y = torch.arange(2 * self.n) % 3
        centers = torch.tensor([[0.0, 2.0], [-2.0, -1.0], [2.0, -1.0]])
        x = centers[y] + torch.randn(2 * self.n, 2, generator=drawn)
        self.train, self.val = TensorDataset(x[: self.n], y[: self.n]), TensorDataset(x[self.n :], y[self.n :])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches in order."""
        return DataLoader(self.val, self.batch_size)


class Classifier(pl.LightningModule):
    """A network of two layers."""

    def __init__(self, width: int, optimizer: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 3))
        self.optimizer = optimizer
        self.accuracy = MulticlassAccuracy(3, average="micro")

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """The share of a batch that is right."""
        x, y = batch
        self.accuracy(self.net(x), y)
        self.log("val_accuracy", self.accuracy)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The configured optimizer over all parameters."""
        optimizer: torch.optim.Optimizer = self.optimizer(self.parameters())
        return optimizer


@hydra.main(version_base="1.3", config_path="configs", config_name="instantiated")
def main(cfg: DictConfig) -> float:
    """Build everything from the configuration, and fit."""
    pl.seed_everything(cfg.seed_everything)
    trainer = instantiate(cfg.trainer)
    trainer.fit(instantiate(cfg.model), datamodule=instantiate(cfg.data))
    return float(trainer.callback_metrics["val_accuracy"])


if __name__ == "__main__":
    main()
