"""A Lightning program as people write it, with most of what one can have; it knows nothing of shoal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy

CONFIG = """
seed: 0
hidden: 8
lr: 0.05
optimizer: adam
scheduler: none
norm: false
dropout: 0.0
recurrent: false
again: false
by_step: false
odd: none
folder: ${hydra:runtime.output_dir}
trainer: {max_epochs: 3, precision: 64-true, log_every_n_steps: 3}
hydra: {sweep: {dir: swept, subdir: "${hydra:job.num}"}}
"""


class Points(pl.LightningDataModule):
    """Points in three classes."""

    def __init__(self, **loading: Any) -> None:
        super().__init__()
        self.loading = loading

    def setup(self, stage: str) -> None:
        x = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
        self.whole = TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
        self.train, self.val = random_split(self.whole, [70, 30], generator=torch.Generator().manual_seed(2))

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=16, shuffle=True, **self.loading)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val, batch_size=16)

    def test_dataloader(self) -> Any:
        return self.val_dataloader()


class Remembering(nn.Module):
    """Reads the features of a point one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.GRU(1, 4, num_layers=2, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.layers(x[..., None])[0][:, -1]


class Classifier(pl.LightningModule):
    """A network with metrics of torchmetrics."""

    steps = 0

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.save_hyperparameters({"lr": cfg.lr, "seed": cfg.seed})
        # The whole of it, as many do: with what is each job's own, and what Hydra resolves for each otherwise.
        self.cfg = cfg
        norm = [nn.BatchNorm1d(cfg.hidden)] if cfg.norm else []
        drop = [nn.Dropout(cfg.dropout)] if cfg.dropout else []
        memory = [Remembering()] if cfg.recurrent else []
        # What is normalised has no bias: the gradient of one would be rounding alone, which Adam makes whole steps of.
        first = nn.Linear(4, cfg.hidden, bias=not norm)
        self.net = nn.Sequential(*memory, first, *norm, nn.Tanh(), *drop, nn.Linear(cfg.hidden, 3))
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_acc, self.val_acc = (MulticlassAccuracy(3, average="micro") for _ in range(2))
        self.best = MaxMetric()
        self.weight = 1.0
        if cfg.odd == "spare":
            self.spare = nn.Linear(2, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        if self.cfg["odd"] == "numpy":
            x = x + 0.1 * numpy.random.rand()
        if self.cfg["odd"] == "counts":
            Classifier.steps += 1
        if self.cfg["odd"] == "writes" and batch_idx == 2:
            Path(f"{self.folder}/last").write_text("there")
        outputs = self.net(x)
        loss: Tensor = self.weight * nn.functional.cross_entropy(outputs, y)
        # Which the first epoch does not show.
        if self.cfg["odd"] == "late" and self.current_epoch:
            loss = loss * self.hparams["lr"]
        self.train_loss(loss)
        self.train_acc(outputs.argmax(1), y)
        by_step = self.cfg["by_step"]
        self.log("train/loss", self.train_loss, on_step=by_step, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=by_step, on_epoch=True)
        self.log("train/plain", loss, on_step=True, on_epoch=True)
        self.log_dict({"train/most": loss.detach()}, on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        outputs = self.net(x)
        self.val_loss(nn.functional.cross_entropy(outputs, y))
        self.val_acc(outputs.argmax(1), y)
        self.log("val/loss", self.val_loss, prog_bar=True)
        self.log("val/acc", self.val_acc)
        self.log("val/plain", nn.functional.cross_entropy(outputs, y))

    def on_train_epoch_start(self) -> None:
        if self.cfg["odd"] == "warming":
            self.weight = (self.current_epoch + 1) / 3
        if self.cfg["odd"] == "freezes" and self.current_epoch:
            self.net[0].requires_grad_(False)

    def on_validation_epoch_end(self) -> None:
        self.best(self.val_acc.compute())
        self.log("val/best", self.best.compute())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        lr = self.hparams["lr"]
        made: Any = {
            "adam": lambda params: torch.optim.Adam(params, lr),
            "sgd": lambda params: torch.optim.SGD(params, lr, momentum=0.9, nesterov=True, weight_decay=1e-3),
            "stateless": lambda params: torch.optim.SGD(params, lr),
        }
        optimizer = made[self.cfg["optimizer"]](self.parameters())
        schedules: Any = {
            "none": lambda: None,
            "steps": lambda: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
            "plateau": lambda: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.3),
            "cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=100),
        }
        scheduler = schedules[self.cfg["scheduler"]]()
        if scheduler is None:
            return optimizer
        interval = "step" if self.cfg["scheduler"] == "cycle" else "epoch"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "interval": interval},
        }


def task(cfg: Any) -> float:
    """Train and test."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    folder = HydraConfig.get().runtime.output_dir
    callbacks: list[Any] = [
        ModelCheckpoint(f"{folder}/checkpoints", monitor="val/loss", save_last=True),
        EarlyStopping("val/loss", patience=1),
    ]
    if cfg.scheduler != "cycle":
        callbacks.append(LearningRateMonitor())
    model = Classifier(cfg)
    vars(model)["folder"] = Path(folder)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=callbacks,
        logger=CSVLogger(folder, "csv"),
        enable_progress_bar=False,
        enable_model_summary=False,
        **cfg.trainer,
    )
    data = Points()
    trainer.fit(model, datamodule=data)
    if cfg.again:
        trainer.fit_loop.max_epochs += 1
        trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, ckpt_path="best", verbose=False)
    return float(trainer.callback_metrics["test/loss"]) + float(torch.rand(()))
