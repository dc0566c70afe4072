"""What a Trainer gets its batches from: samples in memory, or data loaders of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, DistributedSampler

from shoal.engines.job import Job
from shoal.engines.position import Position
from shoal.seeding import Stream, derived
from shoal.tasks import Batches, LightningTask


class Loaders:
    """The batches of a job, each epoch of them a pure function of (seed, epoch)."""

    def __init__(self, job: Job) -> None:
        self.train: Batches | None = None
        self.val: Batches | None = None
        self._generators: dict[torch.Generator, int] = {}
        self._datamodule: pl.LightningDataModule | None = None
        if job.in_memory:
            self.train, val = job.batches()
            self.val = val if job.task.validates else None
        elif isinstance(job.task, LightningTask):
            self._datamodule = job.task.drawn_datamodule()

    def arguments(self) -> Mapping[str, Any]:
        """What `Trainer.fit` is to be given."""
        if self.train is not None:
            return {"train_dataloaders": self.train, "val_dataloaders": self.val}
        return {"datamodule": self._datamodule} if self._datamodule else {}

    def validation(self) -> Mapping[str, Any]:
        """What `Trainer.validate` is to be given: the training samples where there are none for validation."""
        if self.train is not None:
            return {"dataloaders": self.val or self.train}
        return {"datamodule": self._datamodule} if self._datamodule else {}

    def test(self, job: Job) -> Mapping[str, Any]:
        """What `Trainer.test` is to be given."""
        return {"dataloaders": job.test_batches()} if job.in_memory else self.validation()

    def prepare(self, trainer: pl.Trainer, start: Position) -> None:
        """Give this process its share of the training, on its device, from `start` on.

        The validation samples go to every process: shares of equal length would count some of them twice.
        """
        if self.train is not None:
            self.train.at(start.epoch, start.batch)
            self.train.shard(trainer.global_rank, trainer.world_size)
        for batches in (self.train, self.val):
            if batches is not None:
                batches.to(trainer.strategy.root_device)

    def begin(self, trainer: pl.Trainer, epoch: int, first: int) -> None:
        """Put everything at batch `first` of an epoch.

        A generator that a data loader was given would go on from where the last epoch left it, which a resumed training
        cannot know: it is seeded anew in each epoch but the first, from its own seed.
        """
        if self.train is not None:
            self.train.at(epoch, first)
            return
        for generator in _generators(trainer.train_dataloader) if epoch else ():
            seed = self._generators.setdefault(generator, generator.initial_seed())
            generator.manual_seed(derived(seed, Stream.ORDER, epoch))


def n_counted_twice(loaders: Any) -> int:
    """How many samples data loaders give again, so that each of several processes has equally many."""
    samplers = [each.sampler for each in _each(loaders) if isinstance(each.sampler, DistributedSampler)]
    return sum(max(0, int(each.total_size) - len(cast(Sized, each.dataset))) for each in samplers)


def _generators(loaders: Any) -> Iterator[torch.Generator]:
    """The generators that data loaders and their samplers were given."""
    for loader in _each(loaders):
        samplers = [loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]
        found = [getattr(each, "generator", None) for each in (loader, *samplers)]
        yield from {each for each in found if isinstance(each, torch.Generator)}


def _each(loaders: Any) -> Iterator[DataLoader[Any]]:
    """The data loaders in what a Trainer was given."""
    if isinstance(loaders, DataLoader):
        yield loaders
    elif isinstance(loaders, Mapping | list | tuple):
        for each in loaders.values() if isinstance(loaders, Mapping) else loaders:
            yield from _each(each)
