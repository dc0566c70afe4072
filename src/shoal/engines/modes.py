"""Optimizers that train with other weights than those they are to be judged by, as schedule-free ones do."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch

log = logging.getLogger("shoal")


def with_modes(trainer: pl.Trainer) -> list[Any]:
    """The optimizers of a training that have a `train` and an `eval`."""
    return [each for each in trainer.optimizers if hasattr(each, "train") and hasattr(each, "eval")]


class Modes(pl.Callback):
    """Tells optimizers with a `train` and an `eval` which of both it is, as a loop written by hand would.

    The averaged weights stay in place between a validation and the next step.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See whether there are any, and whether one wants to see all samples at each step."""
        self._optimizers = with_modes(trainer)
        if not self._optimizers:
            self.on_train_batch_start = None  # type: ignore[method-assign, assignment]  # Lightning passes over it
        if trainer.num_training_batches > 1 and any(isinstance(each, torch.optim.LBFGS) for each in trainer.optimizers):
            log.warning(
                "LBFGS builds on gradients of the same samples, and each of its steps sees one of %s batches: "
                "task.batch_size=null trains on all of them",
                trainer.num_training_batches,
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the weights in place that a step begins with."""
        for each in self._optimizers:
            each.train()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the averaged ones in their place."""
        # Not those that were noted: the sanity check validates before the training starts.
        for each in with_modes(trainer):
            each.eval()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same: they are what the training comes to."""
        self.on_validation_start(trainer, pl_module)
