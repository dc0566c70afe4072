"""Samples of a line, and DataModules that make something of them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Scaled(Dataset[Any]):
    """A line whose slope somebody may change."""

    slope = 1.0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        x = torch.tensor([place / 40])
        return x, self.slope * x


class Line(pl.LightningDataModule):
    """Samples of such a line."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = Scaled()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, 10, collate_fn=self.collated)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, 10)

    def collated(self, samples: Any) -> Any:
        """A batch of them."""
        x, y = zip(*samples, strict=True)
        return torch.stack(x), torch.stack(y)


class ByEpoch(Line):
    """Makes another batch in each epoch."""

    def collated(self, samples: Any) -> Any:
        x, y = super().collated(samples)
        return x, y * (1 + self.trainer.current_epoch)


class Drawn(Line):
    """Draws its samples as it is set up."""

    def setup(self, stage: str) -> None:
        x = torch.rand(30, 1, generator=torch.Generator().manual_seed(0))
        self.samples = TensorDataset(x, x.square() + 0.1 * torch.randn(30, 1, generator=torch.Generator()))


class Noisy(Line):
    """Changes the batches that it trains on, as Lightning's documentation has it."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (x + torch.rand(()) if self.trainer.training else x), y

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return [each.to(device) for each in batch]


class Tiring(Line):
    """Gives less each time."""

    n = 0

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.n += 1
        return batch[0] / self.n, batch[1]


class AsksStep(Line):
    """Makes its batches by the step of the training."""

    def collated(self, samples: Any) -> Any:
        x, y = super().collated(samples)
        return x, y * (1 + self.trainer.global_step)
