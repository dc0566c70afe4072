"""Batches of a stack, gathered from samples in memory by each run's own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        shared = all(run.samples is runs[0].samples for run in runs)
        kept = runs[:1] if shared else runs
        self._shapes = runs[0].samples.x.shape[1:], runs[0].samples.y.shape[1:]
        self._x = _flat(torch.cat([run.samples.x for run in kept]))
        self._y = _flat(torch.cat([run.samples.y for run in kept]))
        starts = [0] * len(runs) if shared else [i * self.n_samples for i in range(len(runs))]
        self._starts = torch.tensor(starts)[:, None]

    def __len__(self) -> int:
        return len(self.runs[0])

    @staticmethod
    def first(runs: Sequence[Batches], size: int, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A batch like one of an epoch's of this size: each run's first samples."""
        x = torch.stack([run.samples.x[:size] for run in runs])
        y = torch.stack([run.samples.y[:size] for run in runs])
        return x.to(dtype), y.to(dtype) if y.is_floating_point() else y

    def epoch(
        self, number: int, *, dtype: torch.dtype, first: int = 0, end: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches (x, y), of shape (runs, batch, ...), from `first` to before `end`; numbers in `dtype`."""
        orders = torch.stack([run.order(number) for run in self.runs]) + self._starts
        for index in torch.split(orders, self.batch_size, dim=1)[first:end]:
            x, y = self._take(index)
            yield x.to(dtype), y.to(dtype) if y.is_floating_point() else y

    def sizes(self, first: int = 0, end: int | None = None) -> list[int]:
        """Samples of each batch, from `first` to before `end`."""
        n, size = self.n_samples, self.batch_size
        return [min(size, n - begin) for begin in range(0, n, size)][first:end]

    def _take(self, index: Int[Tensor, "runs batch"]) -> tuple[Tensor, Tensor]:
        flat = index.flatten()
        x, y = (values.index_select(0, flat) for values in (self._x, self._y))
        return x.view(*index.shape, *self._shapes[0]), y.view(*index.shape, *self._shapes[1])


def _flat(samples: Tensor) -> Tensor:
    """Single numbers without their last dimension: a third of the time to gather."""
    return samples.flatten() if samples.numel() == len(samples) else samples
