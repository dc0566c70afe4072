"""Small callbacks that log what the optimizer does."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytorch_lightning as pl
import torch

from shoal.engines.job import Job
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR
from shoal.optimizers import rate_of
from shoal.tasks.announce import announce


class LearningRate(pl.Callback):
    """Logs the learning rate of the epoch's last step as `lr`; with several parameter groups, that of the first."""

    def __init__(self) -> None:
        self._used = 0.0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note it before the step: afterwards a scheduler has set the next one."""
        self._used = rate_of(optimizer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log it, where the optimizer has one."""
        if not math.isnan(self._used):
            announce(trainer, {LR: self._used})


class GradientNorm(pl.Callback):
    """Logs the Euclidean norm of the gradient at the epoch's last step, and where clipping is on, what it left.

    Until one is logged it is measured at every step, for who wants to know why a training diverged.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        """The largest norm of the steps before the first that is logged, as far as they were numbers."""
        self._measured: dict[str, float] = {}
        self._logged = False

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Measure before clipping."""
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if last or not self._logged:
            measured = norm(pl_module)
            # An infinite norm, or nan, is the divergence itself; this is about the steps that led to it.
            self.largest = max(self.largest, measured if math.isfinite(measured) else 0.0)
        if last:
            self._measured = {GRAD_NORM: measured}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure after clipping and before the step, in which an optimizer may use the gradients' memory."""
        clip = pl_module.configure_gradient_clipping
        if trainer.gradient_clip_val is None:
            return

        @functools.wraps(clip)
        def clipped(*args: Any, **kwargs: Any) -> None:
            clip(*args, **kwargs)
            # Empty but at the epoch's last step, whose norm before the clipping was measured just now.
            if self._measured:
                self._measured[GRAD_NORM_CLIPPED] = norm(pl_module)

        # Lightning has no hook between the two: on_before_optimizer_step comes before the clipping.
        pl_module.configure_gradient_clipping = clipped  # type: ignore[method-assign]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what was measured."""
        # An epoch without an optimizer step, or cut short before its last batch, must not log the one before again.
        measured, self._measured, self._logged = self._measured, {}, True
        announce(trainer, measured)


def norm(module: torch.nn.Module) -> float:
    """Euclidean norm of all gradients of a module together."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    # Of those of an embedding that are sparse torch has no norm: the rows that they have, each once, have all of it.
    rows = [each.coalesce().values() if each.is_sparse else each for each in gradients]
    return float(torch.nn.utils.get_total_norm(rows))


def logged(callbacks: Any, clips: bool) -> set[str]:
    """Names of what these callbacks log."""
    names = set()
    for callback in callbacks:
        if isinstance(callback, LearningRate):
            names.add(LR)
        if isinstance(callback, GradientNorm):
            names |= {GRAD_NORM, GRAD_NORM_CLIPPED} if clips else {GRAD_NORM}
    return names


def unasked(job: Job) -> set[str]:
    """Names of what a stack measures for all its runs, and no callback of this one would log alone."""
    clips = job.trainer.get("gradient_clip_val") is not None
    return {LR, GRAD_NORM, GRAD_NORM_CLIPPED} - logged(job.callbacks.values(), clips)
