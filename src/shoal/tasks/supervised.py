"""The LightningModule that fits a model to a task's samples."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
from torch import Tensor, nn

from shoal.losses import Loss
from shoal.models.dropout import keyed
from shoal.names import TRAIN_LOSS, VAL_LOSS
from shoal.optimizers import Optimizer
from shoal.schedulers import Horizon, Scheduler
from shoal.tasks.task import Task


class Supervised(pl.LightningModule):
    """Minimises the loss of the model's outputs against the targets, batch by batch."""

    def __init__(
        self, *, model: nn.Module, task: Task, loss: Loss, optimizer: Optimizer, scheduler: Scheduler, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.seed = seed

    def forward(self, x: Tensor) -> Tensor:
        """What the loss sees of the model's outputs for inputs `x` of shape (batch, features)."""
        return self.task.observe(cast(Tensor, self.model(x)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch (x, y)."""
        del batch_idx
        x, y = batch
        loss = self.loss(self(x), y)
        self.log(TRAIN_LOSS, loss, on_step=False, on_epoch=True, batch_size=len(x))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the loss of one batch of the validation samples."""
        del batch_idx
        x, y = batch
        self.log(VAL_LOSS, self.loss(self(x), y), on_epoch=True, batch_size=len(x))

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The model's outputs for one batch."""
        del batch_idx
        return cast(Tensor, self.model(batch[0]))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Key the dropout of this step."""
        keyed(self.model, self.seed, self.current_epoch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Log what the task records beside the loss."""
        for name, value in self.task.recorded(self.model).items():
            self.log(name, value.detach())

    def configure_optimizers(self) -> Any:
        """The optimizer and the scheduler that the configuration names."""
        optimizer = self.optimizer.alone(self.model.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        horizon = Horizon(epochs=epochs, steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler.alone(optimizer, horizon)}
