"""Data loaders shared by several processes so that each sample is measured once.

Lightning gives every process as many samples, some of them twice where the processes cannot share them equally: the
metrics are then not those of the samples. Here the shares differ by one sample at most. Every process still takes as
many batches, since one that is done waits for the others at each.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sized
from functools import wraps
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import RunningStage
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler

MEASURING = (RunningStage.SANITY_CHECKING, RunningStage.VALIDATING, RunningStage.TESTING)


class Share(Sampler[list[Any]]):
    """One process's batches of the samples in `order`, of which each batch has up to `size`."""

    def __init__(self, order: Any, size: int, *, rank: int, n_processes: int) -> None:
        self.order = order
        self.size = size
        self.rank = rank
        self.n_processes = n_processes

    @property
    def suffices(self) -> bool:
        """Whether every process has a sample for each of its batches."""
        return 0 < len(self) <= len(self.order) // self.n_processes

    def __len__(self) -> int:
        return math.ceil(math.ceil(len(self.order) / self.n_processes) / self.size)

    def __iter__(self) -> Iterator[list[Any]]:
        mine, at = list(self.order)[self.rank :: self.n_processes], 0
        for later in reversed(range(len(self))):
            # One sample is left for each later batch at least: no process may run out of batches before the others.
            n = min(self.size, len(mine) - at - later)
            yield mine[at : at + n]
            at += n


def share(trainer: pl.Trainer) -> None:
    """Let a Trainer that measures in several processes measure each sample of a data loader once."""
    if trainer.world_size == 1:
        return
    trainer.strategy.reduce = _unrounded(trainer.strategy.reduce)  # type: ignore[method-assign]
    connector = trainer._data_connector
    prepare = connector._prepare_dataloader

    @wraps(prepare)
    def prepared(dataloader: object, shuffle: bool, mode: RunningStage) -> object:
        found = None
        if (
            mode in MEASURING
            and isinstance(dataloader, DataLoader)
            and connector._requires_distributed_sampler(dataloader)
        ):
            found = shared(dataloader, rank=trainer.global_rank, n_processes=trainer.world_size)
        return found or prepare(dataloader, shuffle, mode)

    connector._prepare_dataloader = prepared  # type: ignore[method-assign]


def _unrounded(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """The reduction, means of whole numbers not rounded down.

    Lightning divides by the mean of the processes' numbers of samples, of which it would leave out the fraction.
    """

    @wraps(reduce)
    def reduced(tensor: Any, *how: Any, **named: Any) -> Any:
        whole = isinstance(tensor, Tensor) and not tensor.is_floating_point()
        return reduce(tensor.double() if whole else tensor, *how, **named)

    return reduced


def shared(loader: DataLoader[Any], *, rank: int, n_processes: int) -> DataLoader[Any] | None:
    """The loader with the batches of one process; None where it makes its own, or has too few samples to share."""
    size, sampler = loader.batch_size, loader.sampler
    if size is None or type(loader.batch_sampler) is not BatchSampler or loader.drop_last:
        return None
    # Each process would draw another order.
    order = range(len(sampler)) if isinstance(sampler, RandomSampler) else sampler
    if not isinstance(order, Sized):
        return None
    batches = Share(order, size, rank=rank, n_processes=n_processes)
    if not batches.suffices:
        return None
    found = copy.copy(loader)
    vars(found)["batch_sampler"] = batches  # a loader takes no other one once it is made
    return found
