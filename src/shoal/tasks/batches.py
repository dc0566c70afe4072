"""Batches of samples in memory, in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from shoal.seeding import Stream, derived, permutation
from shoal.tasks.data import Split


class Batches:
    """One epoch of batches (x, y), or (x, y, weight), at a time.

    With `drop_last` a last batch that is smaller than the others is left out. `at` moves to an epoch and a batch of it:
    a position in the data is two numbers. With `seed` None the samples stay in their own order. `shard` keeps every
    n-th sample for one of n processes, all of them getting equally many.
    """

    def __init__(
        self, samples: Split, *, batch_size: int | None, seed: int | None = None, drop_last: bool = False
    ) -> None:
        self.samples = samples
        self.batch_size = batch_size or len(samples)
        self.drop_last = drop_last
        self.seed = seed
        self._epoch = 0
        self._first = 0
        self._rank, self._world = 0, 1

    def __len__(self) -> int:
        n = math.ceil(len(self.samples) / self._world)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # A generator: it begins at the first batch asked for. Lightning makes iterators that it takes nothing from.
        first, self._first = self._first, 0
        # Views of one copy: no batch is gathered by itself, and a step may write to what it is given.
        copied = (each.clone() if self._as_they_are else each for each in self.epoch(self._epoch))
        parts = [torch.split(each, self.batch_size) for each in copied]
        yield from islice(zip(*parts, strict=True), first, len(self))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the batches are parts of."""
        return self.samples.tensors

    @property
    def n_bytes(self) -> int:
        """Bytes of the samples."""
        return sum(each.numel() * each.element_size() for each in self.tensors)

    @property
    def key(self) -> Mapping[str, Hashable]:
        """What runs have to agree in for their batches to lie side by side; `{}` in a name is the part of the data."""
        n = len(self.samples)
        return {
            "the number of {} samples": n,
            "the {} batch size": self.batch_size,
            "the number of {} batches": len(self),
        }

    def batch(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """A batch made of its parts."""
        return tuple(parts)

    def first(self) -> tuple[Tensor, ...]:
        """The first samples, as many as a batch has."""
        return self.samples.first(self.batch_size)

    def sizes(self) -> list[int]:
        """Samples of each batch of an epoch."""
        n, size = len(self.samples), self.batch_size
        return [min(size, n - begin) for begin in range(0, n, size)][: len(self)]

    def at(self, epoch: int, batch: int = 0) -> None:
        """The next iteration gives `epoch`, from its batch number `batch` on; the one after starts at its beginning."""
        self._epoch, self._first = epoch, batch

    def epoch(self, number: int) -> tuple[Tensor, ...]:
        """All samples (x, y), with their weights where they have some, in the order of this epoch."""
        # No copy where nothing is reordered.
        if self._as_they_are:
            return self.samples.tensors
        order = self.order(number)
        return tuple(each[order] for each in self.samples.tensors)

    @property
    def _as_they_are(self) -> bool:
        """Whether an epoch has the samples themselves, in their own order."""
        return self.seed is None and self._world == 1

    def order(self, number: int) -> Tensor:
        """Indices of the samples in the order of this epoch."""
        n = len(self.samples)
        seed = self._seed(number)
        order = torch.arange(n) if seed is None else permutation(seed, n)
        if self._world > 1:
            padded = math.ceil(n / self._world) * self._world
            # More than once where there are more processes than samples.
            order = order.repeat(math.ceil(padded / n))[:padded][self._rank :: self._world]
        # Drawn on the CPU: another device's generator has other numbers.
        return order.to(self.samples.x.device)

    def order_seed(self, number: int) -> int | None:
        """The seed with which `torch.randperm` draws this epoch's order; None where that is not all it takes."""
        return self._seed(number) if self._world == 1 else None

    def _seed(self, number: int) -> int | None:
        return None if self.seed is None else derived(self.seed, Stream.ORDER, number)

    def shard(self, rank: int, world: int) -> None:
        """Give the share of process `rank` of `world` processes; short shares are filled up from the beginning."""
        self._rank, self._world = rank, world

    def to(self, device: torch.device) -> None:
        """Keep the samples on `device`, so that no batch needs a transfer."""
        self.samples = Split(*(each.to(device) for each in self.samples.tensors))
