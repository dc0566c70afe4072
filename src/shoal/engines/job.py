"""A job: everything a training needs, as live typed objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from shoal.errors import ConfigError
from shoal.losses import LossFunction
from shoal.models import Model
from shoal.optimizers import Optimizer
from shoal.schedulers import Scheduler
from shoal.seeding import Stream, generator
from shoal.tasks import Batches, Data, LightningTask, Network, Supervised, Task, trained_by
from shoal.tasks.precision import is_double, new_tensors


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a configuration says, checked and built. Nothing of it changes while it trains but the callbacks."""

    task: Task
    model: Model
    loss: LossFunction
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Mapping[str, Any]
    """Arguments of Lightning's Trainer."""
    callbacks: Mapping[str, pl.Callback]
    loggers: Mapping[str, Logger]
    seed: int
    engine: str
    threads: int = 1
    """CPU threads while it trains."""
    config: Mapping[str, Any] = field(repr=False)
    """The resolved configuration it was built from: plain values."""

    @property
    def own_module(self) -> bool:
        """Whether a LightningModule trains that is none of shoal's."""
        return isinstance(self.task, LightningTask)

    @property
    def in_memory(self) -> bool:
        """Whether the samples are tensors in memory, so that there are `batches`."""
        return not isinstance(self.task, LightningTask) or self.task.samples is not None

    @property
    def double(self) -> bool:
        """Whether it computes in float64."""
        return is_double(self.trainer)

    @property
    def validates(self) -> bool:
        """Whether there are validation samples, and batches of them are asked for."""
        return self.task.validates and self.trainer.get("limit_val_batches") != 0

    def module(self) -> pl.LightningModule:
        """The LightningModule, its weights drawn on the seed's own stream."""
        if isinstance(self.task, LightningTask):
            module = self.task.drawn_module(self.seed)
            if not self.task.optimizes:
                trained_by(module, self.optimizer, self.scheduler)
            return module
        network = self.model.build(
            inputs=self.task.inputs,
            outputs=self.task.outputs,
            generator=generator(self.seed, Stream.INITIALISATION),
        )
        return Supervised(
            model=network,
            task=self.task,
            loss=self.loss,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            seed=self.seed,
        )

    def presented(self, module: pl.LightningModule) -> Supervised:
        """A trained module as one of shoal's: what is shown and predicted with it asks for its network and its task."""
        if isinstance(module, Supervised):
            return module
        shown = Supervised(
            model=Network(module),
            task=self.task,
            loss=self.loss,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            seed=self.seed,
        )
        return shown.train(module.training)

    @cached_property
    def data(self) -> Data:
        """The task's samples, drawn or read once.

        Raises:
            ConfigError: where the task's settings leave nothing to train on or to validate on.
        """
        try:
            with new_tensors(double=self.double):
                return self.task.data()
        except ConfigError as error:
            raise error.at(key=error.key if error.key.startswith("task.") else f"task.{error.key}") from None

    def batches(self) -> tuple[Batches, Batches | None]:
        """Training batches, in an order that each epoch changes, and validation batches."""
        overfits = bool(self.trainer.get("overfit_batches"))
        data = self.data
        size = self.task.training_batch(len(data.train))
        train = Batches(data.train, batch_size=size, seed=None if overfits else self.seed)
        val = Batches(data.val, batch_size=self.task.val_batch_size) if data.val else None
        return train, val
