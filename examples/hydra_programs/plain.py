"""A Hydra program with Lightning in one file, which knows nothing of shoal.

python plain.py -m hydra/launcher=shoal seed='range(16)' lr=0.003,0.03
"""

from __future__ import annotations

from dataclasses import dataclass

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    """What there is to set."""

    seed: int = 0
    lr: float = 0.01
    hidden: int = 32
    epochs: int = 20


ConfigStore.instance().store(name="plain", node=Config)


class Wave(pl.LightningModule):
    """Fits sin(3x)."""

    def __init__(self, hidden: int, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr)


@hydra.main(version_base="1.3", config_path=None, config_name="plain")
def main(cfg: Config) -> float:
    """Train, and return the loss."""
    pl.seed_everything(cfg.seed)
    x = torch.linspace(-2, 2, 512)[:, None]
    loader = DataLoader(TensorDataset(x, torch.sin(3 * x)), batch_size=32, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=cfg.epochs,
        accelerator="cpu",
        logger=CSVLogger(HydraConfig.get().runtime.output_dir),
        enable_progress_bar=False,
        log_every_n_steps=8,
    )
    trainer.fit(Wave(cfg.hidden, cfg.lr), loader)
    return float(trainer.callback_metrics["loss"])


if __name__ == "__main__":
    main()
