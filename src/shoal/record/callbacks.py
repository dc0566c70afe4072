"""Small callbacks that log what the optimizer does."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR
from shoal.tasks.supervised import announce


class LearningRate(pl.Callback):
    """Logs the learning rate of the epoch's last step as `lr`; with several parameter groups, that of the first."""

    def __init__(self) -> None:
        self._used = 0.0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note it before the step: afterwards a scheduler has set the next one."""
        self._used = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log it."""
        announce(trainer, {LR: self._used})


class GradientNorm(pl.Callback):
    """Logs the Euclidean norm of the gradient at the epoch's last step, and where clipping is on, what it left."""

    def __init__(self) -> None:
        self._measured: dict[str, float] = {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Measure before clipping."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._measured = {GRAD_NORM: norm(pl_module)}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure after clipping."""
        if self._measured and trainer.gradient_clip_val is not None:
            self._measured[GRAD_NORM_CLIPPED] = norm(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what was measured."""
        measured, self._measured = self._measured, {}
        announce(trainer, measured)


def norm(module: torch.nn.Module) -> float:
    """Euclidean norm of all gradients of a module together."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def logged(callbacks: Any, clips: bool) -> set[str]:
    """Names of what these callbacks log."""
    names = set()
    for callback in callbacks:
        if isinstance(callback, LearningRate):
            names.add(LR)
        if isinstance(callback, GradientNorm):
            names |= {GRAD_NORM, GRAD_NORM_CLIPPED} if clips else {GRAD_NORM}
    return names
