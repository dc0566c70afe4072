"""What a stack is given in an epoch: the batches of its runs side by side, and with each the keys of their dropout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from shoal.engines.length import n_of
from shoal.engines.stack.gathered import Streams, for_validation, side_by_side
from shoal.engines.vectorized.measuring import StackMeasures
from shoal.engines.vectorized.running import Running
from shoal.models import Dropout
from shoal.seeding import Stream, derived

LISTED = 1 << 25
"""Bytes of an epoch's samples, of all runs, that may lie in memory a second time: steps taken at once need them all."""


class StackBatches:
    """The batches of the runs in the rows of a stack as it is: a smaller stack has others."""

    def __init__(self, running: Running) -> None:
        self.running = running
        first = running.members[0]
        batches = [running.members[run].job.sources() for run in running.filled]
        device, dtype = running.stack.device, running.stack.params.dtype
        self._dropouts = {name: part for name, part in first.module.named_modules() if isinstance(part, Dropout)}
        self._train = side_by_side([train for train, _ in batches], device)
        self.n_train = n_of(first.job.trainer.get("limit_train_batches"), len(self._train))
        """Batches of an epoch of training."""
        self._limit = first.job.trainer.get("limit_val_batches")
        self._loaders = for_validation([val for _, val in batches], device)
        ends = [n_of(self._limit, len(each)) for each in self._loaders]
        # Of loaders that draw anew one batch will do here: it says that there is a validation, and of what.
        self._val = [
            list(each.epoch(0, end=min(end, 1) if isinstance(each, Streams) else end, dtype=dtype))
            for each, end in zip(self._loaders, ends, strict=True)
        ]

    @property
    def validates(self) -> bool:
        """Whether there are validation batches."""
        return any(self._val)

    @property
    def judged(self) -> list[list[Any]]:
        """The first batch of each data loader for validation, for a look at a step; an empty one has none."""
        return [each[:1] for each in self._val]

    def training(self, first: int, end: int) -> Iterable[Any]:
        """The epoch's batches from `first` to before `end`; before each is given, every dropout has its keys.

        A list, where they are known beforehand and not too large.
        """
        running = self.running
        batches = self._train.epoch(running.epoch, first=first, end=end, dtype=running.stack.params.dtype)
        if self._dropouts or isinstance(self._train, Streams) or self._train.n_bytes > LISTED:
            return self._keyed(batches, first)
        return list(batches)

    def one_of(self, number: int) -> Any:
        """A batch of the epoch, for a look at a step; of loaders that draw anew the next epoch's first."""
        dtype = self.running.stack.params.dtype
        return next(iter(self._train.epoch(self.running.epoch, first=number, end=number + 1, dtype=dtype)))

    def _keyed(self, batches: Iterable[Any], first: int) -> Iterator[Any]:
        running = self.running
        seeds = [running.members[run].job.seed for run in running.filled]
        for number, batch in enumerate(batches, first):
            for name, part in self._dropouts.items():
                keys = [derived(seed, Stream.DROPOUT, running.epoch, number, part.layer) for seed in seeds]
                running.stack.buffers[f"{name}.key"] = torch.tensor(keys).to(running.stack.device)
            yield batch

    def validation(self) -> list[Iterable[Any]]:
        """The batches of each data loader for validation: the same each time, or what it gives after this epoch."""
        epoch, dtype = self.running.epoch, self.running.stack.params.dtype
        return [
            each.epoch(epoch, end=n_of(self._limit, len(each)), dtype=dtype) if isinstance(each, Streams) else kept
            for each, kept in zip(self._loaders, self._val, strict=True)
        ]

    def measuring(self) -> StackMeasures:
        """What measures the outputs for the samples of the first data loader, which are the task's own."""
        tasks = [self.running.members[run].job.task for run in self.running.filled]
        # (runs, batch, ...), in main memory as the outputs are by then.
        return StackMeasures(tasks, [y.cpu() for _, y, *_ in self._val[0]])
