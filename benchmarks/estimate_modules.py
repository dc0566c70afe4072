"""LightningModules of several kinds, and their data, of which estimate.py compares what is said and what is taken."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

BATCH = 32
"""Samples of a batch."""


class Fitted(pl.LightningModule):
    """A net fitted by Adam to numbers, as most are written."""

    loss: nn.Module = nn.MSELoss()

    def __init__(self) -> None:
        super().__init__()
        self.net = self.layers()

    def layers(self) -> nn.Module:
        """An MLP; other modules have others."""
        return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)
        return found

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self(batch[0]), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.loss(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Recurrent(Fitted):
    """A GRU, whose last state is read."""

    kind: type[nn.GRU | nn.LSTM] = nn.GRU

    def __init__(self) -> None:
        super().__init__()
        self.cells = self.kind(1, 16, batch_first=True)

    def layers(self) -> nn.Module:
        return nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.cells(x)[0][:, -1])


class LongMemory(Recurrent):
    """An LSTM, which gains nothing in a stack."""

    kind = nn.LSTM


class Branching(Fitted):
    """A step that branches on a number of its own, which no stack follows."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * 2 if loss.item() > 1e6 else loss


class Annealed(Fitted):
    """A loss that is weighed by the epoch."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (1 + 0.01 * self.current_epoch)


class Convolutional(Fitted):
    """Two convolutions, for classes."""

    loss = nn.CrossEntropyLoss()

    def layers(self) -> nn.Module:
        two = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*two, nn.Flatten(), nn.Linear(512, 10))


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Samples with other noise each time, so that no two epochs are alike."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index] + 0.1 * torch.randn_like(self.x[index]), self.y[index]


class Samples(pl.LightningDataModule):
    """512 samples of normal numbers, of any shape, in loaders of torch's; 128 more for the validation."""

    def __init__(self, shape: list[int], *, classes: bool = False, noisy: bool = False) -> None:
        super().__init__()
        self.shape, self.classes, self.kind = shape, classes, Noisy if noisy else TensorDataset

    def setup(self, stage: str) -> None:
        x = torch.randn(640, *self.shape, generator=torch.Generator().manual_seed(0))
        flat = x.flatten(1)
        y = flat[:, :10].argmax(1) if self.classes else flat.sum(1, keepdim=True).sin()
        self.train, self.val = self.kind(x[:512], y[:512]), TensorDataset(x[512:], y[512:])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=BATCH, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.val, batch_size=128)
