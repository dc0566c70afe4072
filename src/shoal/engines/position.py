"""Where a training stands: three numbers, from which every counter of Lightning's loops follows.

Lightning's own resume restores its counters from the checkpoint and then guesses from them at which hook the training
stopped. Here a checkpoint is only ever taken between two steps, so there is nothing to guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.progress import _ReadyCompletedTracker
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

from shoal.engines.bare_steps import BareSteps, ValidationLoop, suffice


@dataclass(frozen=True)
class Position:
    """Between two steps: `epoch` epochs are complete, and of the next one `batch` batches are done."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    """Optimizer steps taken in all."""


class EpochLoop(_TrainingEpochLoop):
    """Lightning's loop over an epoch, able to begin at a batch in the middle of it."""

    first_batch = 0

    @cached_property
    def _step_takes_index(self) -> bool:
        return is_param_in_hook_signature(self.trainer.lightning_module.training_step, "batch_idx", min_args=2)

    def _build_kwargs(self, kwargs: Any, batch: Any, batch_idx: int) -> Any:
        """As Lightning's; but the signature of the training step is looked at once, not at every step."""
        kwargs["batch"] = batch
        if self._step_takes_index:
            kwargs["batch_idx"] = batch_idx
        return kwargs

    def on_run_start(self, data_fetcher: Any) -> None:
        """See whether the epoch's steps can do without what Lightning does around each."""
        super().on_run_start(data_fetcher)
        self.bare = BareSteps(self) if suffice(self.trainer, self.trainer.train_dataloader) else None

    def advance(self, data_fetcher: Any) -> None:
        """Take a step."""
        if self.bare is None or self.restarting:
            super().advance(data_fetcher)
        else:
            self.bare.advance(data_fetcher)

    def reset(self) -> None:
        super().reset()
        _set(self.batch_progress.current, self.first_batch)
        # Only the epoch in which the training begins starts in its middle.
        self.first_batch = 0

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Tell who wants to know that the training ends in the middle of an epoch, before Lightning closes the epoch.

        What follows (means over the part of the epoch, callbacks at its end) is no part of a longer training.
        """
        if self.bare and self.bare.goes_on():
            return
        super().on_advance_end(data_fetcher)
        if self.done and not self._num_ready_batches_reached():
            for callback in self.trainer.callbacks:
                if hasattr(callback, "on_cut_short"):
                    callback.on_cut_short(self.trainer)


def install(trainer: pl.Trainer) -> None:
    """Give a Trainer that has not begun the loops that can start in the middle of an epoch, and take bare steps."""
    old = trainer.fit_loop.epoch_loop
    loop = trainer.fit_loop.epoch_loop = EpochLoop(trainer, old.min_steps, old.max_steps)
    loop.val_loop = ValidationLoop(trainer, old.val_loop._trainer_fn, old.val_loop._stage, False, inference_mode=False)


def move(trainer: pl.Trainer, position: Position) -> None:
    """Set the loops of a Trainer that is about to begin its first epoch to `position`."""
    fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    for epochs in (fit.epoch_progress.current, fit.epoch_progress.total):
        _set(epochs, position.epoch)
    _set(loop.batch_progress.total, _n_before(trainer, position))
    # Both, since `global_step` is read from one or the other by how the module optimizes.
    _set(loop.automatic_optimization.optim_progress.optimizer.step.total, position.step)
    _set(loop.manual_optimization.optim_step_progress.total, position.step)
    # What is logged is numbered by this, not by the steps of the optimizer.
    loop._batches_that_stepped = position.step
    if isinstance(loop, EpochLoop):
        loop.first_batch = position.batch


def _set(tracker: _ReadyCompletedTracker, n: int) -> None:
    """Make a counter say that `n` have been begun and finished."""
    for stage in vars(tracker):
        setattr(tracker, stage, n)


def _n_before(trainer: pl.Trainer, position: Position) -> int:
    """How many batches come before a position; of data of unknown length as many as its steps took."""
    n = trainer.num_training_batches
    if math.isinf(n):
        return position.step * trainer.accumulate_grad_batches
    return position.epoch * int(n) + position.batch
