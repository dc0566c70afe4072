"""A program in the style of hydra-zen (`pip install hydra-zen`), which knows nothing of shoal.

python zen.py -m hydra/launcher=shoal seed='range(16)' optimizer.lr=0.003,0.03
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from hydra_zen import builds, store, zen
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Line(pl.LightningModule):
    """Fits a line to noisy points."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        x, y = batch
        loss = nn.functional.mse_loss(self.layer(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The configured optimizer over all parameters."""
        optimizer: torch.optim.Optimizer = self.optimizer(self.parameters())
        return optimizer


def train(seed: int, optimizer: Any, trainer: pl.Trainer) -> float:
    """Train, and return the loss."""
    pl.seed_everything(seed)
    drawn = torch.Generator().manual_seed(1)
    x = torch.randn(512, 3, generator=drawn)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1 * torch.randn(512, 1, generator=drawn)
    trainer.fit(Line(optimizer), DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True))
    return float(trainer.callback_metrics["loss"])


Trainer = builds(
    pl.Trainer,
    accelerator="cpu",
    max_epochs=10,
    enable_progress_bar=False,
    log_every_n_steps=8,
    default_root_dir="${hydra:runtime.output_dir}",
)
store(train, name="zen", seed=0, optimizer=builds(torch.optim.Adam, lr=0.01, zen_partial=True), trainer=Trainer)

if __name__ == "__main__":
    store.add_to_hydra_store()
    zen(train).hydra_main(config_name="zen", version_base="1.3", config_path=None)
