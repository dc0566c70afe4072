"""Batches of a stack, gathered from samples in memory by each run's own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from jaxtyping import Int
from torch import Tensor

from shoal.tasks import Batches


class Gathered:
    """The batches of several runs side by side; every run has as many samples and the same batch size."""

    def __init__(self, runs: Sequence[Batches]) -> None:
        self.runs = runs
        self.batch_size = runs[0].batch_size
        self.n_samples = len(runs[0].samples)
        self._parts = [_Part(each) for each in zip(*(run.samples.tensors for run in runs), strict=True)]
        self._starts = torch.tensor([[i * self.n_samples] for i in range(len(runs))])

    def __len__(self) -> int:
        return len(self.runs[0])

    @staticmethod
    def first(runs: Sequence[Batches], size: int, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A batch like one of an epoch's of this size: each run's first samples."""
        x = torch.stack([run.samples.x[:size] for run in runs])
        y = torch.stack([run.samples.y[:size] for run in runs])
        return x.to(dtype) if x.is_floating_point() else x, y.to(dtype) if y.is_floating_point() else y

    def epoch(
        self, number: int, *, dtype: torch.dtype, first: int = 0, end: int | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """The epoch's batches (x, y), or with weights behind, of shape (runs, batch, ...); numbers in `dtype`.

        They are those from `first` to before `end`.
        """
        orders = torch.stack([run.order(number) for run in self.runs])
        places = (torch.split(each, self.batch_size, dim=1) for each in (orders, orders + self._starts))
        for shared, own in islice(zip(*places, strict=True), first, self._end(end)):
            parts = [part.take(shared if part.shared else own) for part in self._parts]
            yield tuple(each.to(dtype) if each.is_floating_point() else each for each in parts)

    def sizes(self, first: int = 0, end: int | None = None) -> list[int]:
        """Samples of each batch, from `first` to before `end`."""
        n, size = self.n_samples, self.batch_size
        return [min(size, n - begin) for begin in range(0, n, size)][first : self._end(end)]

    def _end(self, end: int | None) -> int:
        return len(self) if end is None else min(end, len(self))


class _Part:
    """Inputs, targets or weights of several runs; kept once where they are the same tensor in all of them."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.shared = all(each is tensors[0] for each in tensors)
        self._shape = tensors[0].shape[1:]
        self._values = _flat(torch.cat(list(tensors[:1] if self.shared else tensors)))

    def take(self, index: Int[Tensor, "runs batch"]) -> Tensor:
        """The values at these places."""
        return self._values.index_select(0, index.flatten()).view(*index.shape, *self._shape)


def _flat(samples: Tensor) -> Tensor:
    """Single numbers without their last dimension: a third of the time to gather."""
    return samples.flatten() if samples.numel() == len(samples) else samples
