"""Data loaders with worker processes, their batches fetched in this process with the numbers that workers draw."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy
import torch
from lightning_fabric.utilities.data import _auto_add_worker_init_fn
from torch.utils.data import DataLoader, IterableDataset, _DatasetKind
from torch.utils.data._utils import worker as workers

from shoal.engines.generators import OwnGenerators
from shoal.seeding import generators_restored, global_states, set_global_states


class WithoutWorkers:
    """A data loader of workers, without them: a process for each worker of each run of a stack would be too many."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        # What Lightning does to a loader where PL_SEED_WORKERS is set, as by its seed_everything(seed, workers=True).
        _auto_add_worker_init_fn(loader, rank=0)
        self.loader: Any = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return _Batches(self.loader)


def asked_at_once(loader: DataLoader[Any]) -> int:
    """Batches whose places are drawn as the loader's iterator is made: none without workers."""
    return loader.num_workers * (loader.prefetch_factor or 0)


class _Batches:
    """Those of an epoch: each worker in turn fetches one, and places are drawn when they would be sent to it."""

    def __init__(self, loader: Any) -> None:
        self._places = iter(loader._index_sampler)
        base = int(torch.empty((), dtype=torch.int64).random_(generator=loader.generator))
        self._asked = deque(islice(self._places, asked_at_once(loader)))
        self._workers = deque(_Worker(loader, base, number) for number in range(loader.num_workers))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while self._asked and self._workers:
            try:
                batch = self._workers[0].fetch(self._asked[0])
            except StopIteration:  # of an iterable data set, whose workers end one by one
                self._workers.popleft()
                continue
            self._asked.popleft()
            self._asked.extend(islice(self._places, 1))
            self._workers.rotate(-1)
            return batch
        raise StopIteration


class _Worker:
    """One of them: its own place in the generators, and its own data set as far as it is changed by assignment."""

    def __init__(self, loader: Any, base: int, number: int) -> None:
        self._dataset = copy.copy(loader.dataset) if isinstance(loader.dataset, IterableDataset) else loader.dataset
        self._loader, self._number = loader, number
        self._info = workers.WorkerInfo(
            id=number, num_workers=loader.num_workers, seed=base + number, dataset=self._dataset
        )
        self._own = OwnGenerators([self._dataset, loader.collate_fn])
        self._held = self._own.states()
        self._fetcher: Any = None
        with generators_restored():
            random.seed(base + number)
            torch.default_generator.manual_seed(base + number)
            # Torch seeds NumPy otherwise than the other two.
            numpy.random.seed(workers._generate_state(base, number))  # type: ignore[no-untyped-call]
            self._states = global_states()

    def fetch(self, places: Any) -> Any:
        """The batch of the samples at these places; the next one of an iterable data set."""
        with self._at_work():
            # Only here, since what `worker_init_fn` seeds and draws is the worker's own.
            if self._fetcher is None:
                self._begin()
            return self._fetcher.fetch(places)

    def _begin(self) -> None:
        loader = self._loader
        if loader.worker_init_fn is not None:
            loader.worker_init_fn(self._number)
        self._fetcher = _DatasetKind.create_fetcher(  # type: ignore[no-untyped-call]
            loader._dataset_kind, self._dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
        )

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Draw from this worker's generators; `get_worker_info` tells of this worker meanwhile."""
        before, outside = workers._worker_info, self._own.states()
        with generators_restored():
            set_global_states(self._states)
            self._own.set(self._held)
            workers._worker_info = self._info
            try:
                yield
            finally:
                workers._worker_info = before
                self._states, self._held = global_states(), self._own.states()
                self._own.set(outside)
