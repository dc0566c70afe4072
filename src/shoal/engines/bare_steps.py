"""Steps as Lightning's loops take them, without what they do around each for hooks and strategies that nobody has here.

Around each step Lightning calls some seventy functions: of the profiler, the strategy, the precision, the loggers, and
every hook of every callback. Most find nothing to do, and together they take longer than the step of a small model.
What remains is done here in the same order, with the same counters, so that whatever looks at the Trainer between two
steps (a callback of shoal's, a checkpoint, an error) finds what it would find in Lightning's own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import DoublePrecision, Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from shoal.engines.hook_names import OF_BATCHES, of_shoal
from shoal.engines.unprofiled import Unprofiled
from shoal.tasks import Batches, Supervised

Hooks = Sequence[Callable[..., Any]]

_CALLED = ("on_train_batch_start", "on_before_optimizer_step")
"""Hooks that are called here too. Shoal's own log nothing in them, which would take more of Lightning."""


def suffice(trainer: pl.Trainer, batches: object) -> bool:
    """Whether nobody would miss what Lightning does around each step of a training that is given these batches."""
    module = trainer.lightning_module
    return (
        # What it logs in a step goes past Lightning, and its own hooks are called here.
        type(module) is Supervised
        and not module.logs_steps
        and not _hooks_of_its_own(module)
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(trainer.precision_plugin) in (Precision, DoublePrecision)
        and type(trainer.profiler) is Unprofiled  # type: ignore[attr-defined]
        and isinstance(batches, Batches)
        and all(_as_it_is(trainer, each) for each in batches.tensors)
        and not any(_would_miss(each) for each in trainer.callbacks)  # type: ignore[attr-defined]
    )


def _hooks_of_its_own(module: pl.LightningModule) -> set[str]:
    """Hooks that somebody has given to the module itself, but for the one that is called here."""
    given = {name for name in vars(module) if callable(getattr(pl.LightningModule, name, None))}
    return given - {"configure_gradient_clipping"}


def _as_it_is(trainer: pl.Trainer, samples: Tensor) -> bool:
    """Whether batches of these samples are given to the module as they are."""
    converted = trainer.precision_plugin.convert_input(samples)
    return converted is samples and samples.device == trainer.strategy.root_device


def _would_miss(callback: pl.Callback) -> bool:
    """Whether a callback has hooks of batches that are not called here, once those it does not have are dropped."""
    called = _CALLED if of_shoal(type(callback)) else ()
    return any(callable(getattr(callback, name)) for name in OF_BATCHES if name not in called)


class BareSteps:
    """Takes the steps of one epoch."""

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        self.loop = loop
        trainer = self.trainer = loop.trainer
        self.module = trainer.lightning_module
        [self.optimizer] = trainer.optimizers
        self.progress = loop.automatic_optimization.optim_progress.optimizer
        self.begun = _hooks(trainer, "on_train_batch_start")
        self.ready = _hooks(trainer, "on_before_optimizer_step")
        self.clear = _clearing(self.optimizer)
        self.uninterrupted = _is_uninterrupted(loop)

    def advance(self, fetcher: _PrefetchDataFetcher) -> None:
        """Take the next batch."""
        loop, progress = self.loop, self.loop.batch_progress
        batch, _, _ = next(fetcher)
        number = loop.batch_idx + 1
        progress.is_last_batch = fetcher.done
        progress.increment_ready()
        note_batch(self.trainer)
        for hook in self.begun:
            hook(self.trainer, self.module, batch, number)
        self.module.on_train_batch_start(batch, number)
        progress.increment_started()
        self._gradients(batch, number) if loop._should_accumulate() else self._step(batch, number)
        progress.increment_processed()
        loop.update_lr_schedulers("step", update_plateau_schedulers=False)
        if loop._num_ready_batches_reached():
            loop.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        progress.increment_completed()

    def goes_on(self) -> bool:
        """Whether nothing comes between the step that was taken and the next of the epoch; it is counted then."""
        loop = self.loop
        if not self.uninterrupted or self.trainer.should_stop or loop._num_ready_batches_reached():
            return False
        loop._batches_that_stepped += not loop._should_accumulate()
        return True

    def _step(self, batch: Any, number: int) -> None:
        # As a closure: some optimizers want the gradients more than once.
        def gradients() -> Tensor:
            loss = self._gradients(batch, number)
            for hook in self.ready:
                hook(self.trainer, self.module, self.optimizer)
            self.module.on_before_optimizer_step(self.optimizer)
            if self.trainer.gradient_clip_val is not None:
                how = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
                self.module.configure_gradient_clipping(self.optimizer, *how)
            return loss

        self.progress.step.increment_ready()
        self.optimizer.step(gradients)
        self.progress.step.increment_completed()

    @torch.enable_grad()
    def _gradients(self, batch: Any, number: int) -> Tensor:
        """Add the gradients of a batch to those that are there, or begin with them; the batch's share of the loss."""
        n = self.trainer.accumulate_grad_batches
        with self.trainer.precision_plugin.train_step_context():
            loss: Tensor = self.module.training_step(batch, number)
        if n > 1:
            loss = loss / n
        if number % n == 0:
            self.progress.zero_grad.increment_ready()
            self.progress.zero_grad.increment_started()
            self.clear()
            self.progress.zero_grad.increment_completed()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def _is_uninterrupted(loop: _TrainingEpochLoop) -> bool:
    """Whether an epoch, unless somebody stops the training, has all of its steps with no validation among them."""
    trainer = loop.trainer
    rarely = trainer.check_val_every_n_epoch is not None and trainer._val_check_time_interval is None
    late = trainer.val_check_batch is not None and trainer.val_check_batch >= trainer.num_training_batches
    watched = any(each.reduce_on_plateau and each.interval == "step" for each in trainer.lr_scheduler_configs)
    return loop.max_steps == -1 and not watched and (not trainer.enable_validation or (rarely and late))


def _clearing(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """The optimizer's `zero_grad`; torch's own without the profiler and the compiler, which it asks at each call."""
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        return optimizer.zero_grad
    params = [each for group in optimizer.param_groups for each in group["params"]]

    def clear() -> None:
        for each in params:
            each.grad = None

    return clear


class ValidationLoop(_EvaluationLoop):
    """Lightning's loop over the validation samples, with bare steps where they suffice."""

    @cached_property
    def _bare(self) -> bool:
        return self._is_sequential and self.num_dataloaders == 1 and suffice(self.trainer, self.trainer.val_dataloaders)

    @cached_property
    def _verified(self) -> bool:
        super()._verify_dataloader_idx_requirement()
        return True

    def _verify_dataloader_idx_requirement(self) -> None:
        """Look at the signatures of the module's hooks once, not at every validation."""
        assert self._verified

    def _evaluation_step(self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Any) -> None:
        """Measure a batch."""
        if not self._bare:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        trainer, module, progress = self.trainer, self.trainer.lightning_module, self.batch_progress
        progress.increment_ready()
        note_batch(trainer)
        progress.increment_started()
        with trainer.precision_plugin.val_step_context():
            outputs = module.validation_step(batch, batch_idx)
        progress.increment_processed()
        module.on_validation_batch_end(outputs, batch, batch_idx)
        progress.increment_completed()
        if not trainer.sanity_checking:
            self._has_run = True
            self._seen_batches_per_dataloader[dataloader_idx] += 1


def note_batch(trainer: pl.Trainer) -> None:
    """Let Lightning know whether this is the first batch of an epoch, or a later one."""
    connector = trainer._logger_connector
    connector._first_loop_iter = connector._first_loop_iter is None


def _hooks(trainer: pl.Trainer, name: str) -> Hooks:
    found = [getattr(each, name) for each in trainer.callbacks]  # type: ignore[attr-defined]
    return [each for each in found if callable(each)]
