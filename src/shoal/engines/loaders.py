"""What a Trainer gets its batches from: samples in memory, or data loaders of the user's own."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import _shutdown_workers_and_reset_iterator
from torch.utils.data import DistributedSampler

from shoal.engines.generators import OwnGenerators
from shoal.engines.job import Job
from shoal.engines.made_loaders import MadeLoaders, Stage
from shoal.engines.position import Position
from shoal.errors import warn
from shoal.tasks import Batches, LightningTask


class Loaders:
    """The batches of a job, each epoch of them a pure function of (seed, epoch)."""

    def __init__(self, job: Job) -> None:
        self.train: Batches | None = None
        self.val: Batches | None = None
        self._seed = job.seed
        self._own: dict[Stage, tuple[list[Any], OwnGenerators]] = {}
        """The loaders of each stage, and the generators that they hold."""
        self._epoch = 0
        self._datamodule: pl.LightningDataModule | None = None
        self.made = MadeLoaders(job.seed, functools.partial(self._begin_own, "val"))
        """When those of the user's own were made."""
        if job.in_memory:
            self.train, val = job.batches()
            # A task's own word counts: a LightningModule of the user's may have no validation_step for the samples.
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

        A generator that a data loader holds, or a worker process that stays, would go on from where the last epoch left
        it, which a resumed training cannot know: it is seeded anew in each epoch but the first.
        """
        if self.train is not None:
            self.train.at(epoch, first)
            return
        self._epoch = epoch
        # Those that the Trainer has: of some loaders it makes others, with samplers of its own.
        self._begin_own("train", trainer.train_dataloader)
        self._begin_own("val", trainer.val_dataloaders)
        for loader in (*_each(trainer.train_dataloader), *_each(trainer.val_dataloaders)):
            # They would draw on from where the last epoch left them.
            if epoch and getattr(loader, "persistent_workers", False):
                _shutdown_workers_and_reset_iterator(loader)

    def _begin_own(self, stage: Stage, given: Any) -> None:
        """Put the generators that these loaders hold where the epoch begins."""
        loaders = list(_each(given))
        before, own = self._own.get(stage, ([], None))
        # Searched once: that is too dear for every epoch.
        if own is None or not _are_same(before, loaders):
            training = self._own["train"][1] if stage == "val" and "train" in self._own else None
            own = OwnGenerators(loaders, self._seed, but=training, before=own)
            self._own[stage] = loaders, own
        if self._epoch:
            own.begin(self._epoch)


def _are_same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def n_counted_twice(loaders: Any) -> int:
    """How many samples data loaders give again, so that each of several processes has equally many."""
    every = [getattr(each, "sampler", None) for each in _each(loaders)]
    samplers = [each for each in every if isinstance(each, DistributedSampler)]
    return sum(max(0, int(each.total_size) - len(cast(Sized, each.dataset))) for each in samplers)


def tell_of_padding(trainer: pl.Trainer) -> None:
    """Say so where the metrics of a validation are not quite those of its samples."""
    n = n_counted_twice(trainer.val_dataloaders)
    # One of several processes says it: each of them would find the same.
    if n and trainer.is_global_zero:
        warn(
            f"{n} validation samples count twice, so that each process has equally many: as many as the processes can "
            "share equally, or trainer.use_distributed_sampler=false, measures each once"
        )


def _each(loaders: Any) -> Iterator[Any]:
    """The data loaders in what a Trainer was given, of whatever class."""
    if isinstance(loaders, Mapping | list | tuple):
        for each in loaders.values() if isinstance(loaders, Mapping) else loaders:
            yield from _each(each)
    elif loaders is not None:
        yield loaders
