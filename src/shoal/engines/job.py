"""A job: everything a training needs, as live typed objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from torch import Tensor

from shoal.engines.batch_sources import Source, batch_sources
from shoal.engines.fixed_samples import NotGatherableError
from shoal.errors import ConfigError, brief
from shoal.losses import Loss, LossFunction
from shoal.models import Formula, Model
from shoal.optimizers import Optimizer
from shoal.schedulers import Scheduler
from shoal.seeding import Stream, generator
from shoal.tasks import Batches, Data, LightningTask, Network, Split, Supervised, Task, trained_by
from shoal.tasks.precision import is_double, is_mixed, new_tensors


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
    numerics: str = "native"
    """By which instructions it computes: this processor's, or those that all processors have."""
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
    def precision(self) -> str:
        """What it computes in within a stack, by Lightning's name."""
        return "64-true" if self.double else "bf16-mixed" if is_mixed(self.trainer) else "32-true"

    @property
    def records(self) -> bool:
        """Whether values beside the loss are logged after each epoch."""
        return self.task.records or isinstance(self.model, Formula)

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
        reading = self.model.reading(lambda: self.task.names)
        inputs, outputs = self.task.inputs, self.task.outputs
        # Starts and bounds of a formula are numbers of the user's, which are not rounded on their way.
        with new_tensors(double=self.double and isinstance(self.model, Formula)):
            drawn = generator(self.seed, Stream.INITIALISATION)
            network = reading.build(inputs=inputs, outputs=outputs, generator=drawn)
        return Supervised(
            model=network,
            task=self.task,
            loss=self.loss.in_units(lambda: self.task.unit) if isinstance(self.loss, Loss) else self.loss,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            seed=self.seed,
        )

    def module_for(self, weights: Mapping[str, Any]) -> pl.LightningModule:
        """A module to put these weights into, with the layers too that it makes only when its training begins."""
        module = self.module()
        if isinstance(self.task, LightningTask):
            self.task.complete(module, weights.keys())
        return module.double() if self.double else module

    def module_to_stack(self) -> pl.LightningModule:
        """The LightningModule in the precision of its training; alone, the Trainer converts it."""
        module = self.module()
        return module.double() if self.double else module

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
        # A new module is in the mode of training, and would put the one within it there as well.
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
            # A task names its settings as it knows them; who has set them knows them below `task.`.
            raise error.at(key=error.key if error.key.startswith("task.") else f"task.{error.key}") from None

    def batches(self) -> tuple[Batches, Batches | None]:
        """Training batches, in an order that each epoch changes, and validation batches.

        Raises:
            ConfigError: where the loss has not a weight for each class.
        """
        # Lightning takes the samples in their order then, so that each epoch has the same few batches.
        overfits = bool(self.trainer.get("overfit_batches"))
        data, task = self.data, self.task
        size = task.training_batch(len(data.train))
        seed = None if overfits else self.seed
        train = Batches(self.weighted(data.train), batch_size=size, seed=seed, drop_last=task.drop_last)
        val = Batches(self.weighted(data.val), batch_size=task.val_batch_size) if data.val else None
        return train, val

    def sources(self) -> tuple[Source, Sequence[Source]]:
        """What a stack gets its training batches from, and those of each data loader for validation.

        Raises:
            ConfigError: as for the batches of samples in memory.
            NotGatherableError: where they come from data loaders that a stack cannot have them from.
        """
        if not self.in_memory:
            return self._own_sources
        train, val = self.batches()
        return train, [val] if val else []

    @property
    def why_without_sources(self) -> str | None:
        """Why there are no `sources`; None where there are."""
        try:
            self.sources()
        except NotGatherableError as error:
            return str(error)
        except Exception as error:  # whatever a data loader of the user's own does
            return brief(error)
        return None

    @cached_property
    def _own_sources(self) -> tuple[Source, Sequence[Source]]:
        """What a user's own data loaders give."""
        assert isinstance(self.task, LightningTask)
        limits = self.trainer.get("limit_train_batches"), self.trainer.get("limit_val_batches")
        datamodule = self.task.drawn_datamodule()
        train, val = batch_sources(self.module(), datamodule, self.seed, double=self.double, limits=limits)
        return train, val if self.task.validates else []

    def test_batches(self) -> Batches | None:
        """Batches of the test part, where there is one."""
        test = self.data.test
        return Batches(self.weighted(test), batch_size=self.task.val_batch_size) if test else None

    @property
    def tests(self) -> bool:
        """Whether there is a test part."""
        if self.in_memory:
            own = not isinstance(self.task, LightningTask) or self.task.has("test_step")
            return self.data.test is not None and own
        return isinstance(self.task, LightningTask) and self.task.tests

    def weighted(self, samples: Split) -> Split:
        """The samples with how much each counts in the loss: its own weight times that of its class, 1 in the mean."""
        weight = samples.weight
        if self._class_weights is not None:
            of_class = self._class_weights[samples.y]
            weight = of_class if weight is None else weight * of_class
        if weight is None:
            return samples
        # The mean is taken in float64: of many weights in float32 it would not come to 1.
        return replace(samples, weight=(weight.double() / weight.double().mean()).to(samples.x.dtype))

    @cached_property
    def _class_weights(self) -> Tensor | None:
        """How much each class counts, where they do not count alike."""
        if not isinstance(self.loss, Loss) or not self.loss.weighs_classes:
            return None
        counts = self.task.class_counts
        try:
            return None if counts is None else self.loss.of_classes(counts)
        except ConfigError as error:
            raise error.at(key=f"loss.{error.key}") from None
