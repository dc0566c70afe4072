"""The batches of a user's own data loaders as they come, drawn for each run where Lightning would draw them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from shoal.engines.sampled import NotGatherableError, OwnGenerators
from shoal.seeding import generators_restored, global_states, seed_global, set_global_states

LONGEST = 10_000
"""Batches of an epoch that are counted, where the loader does not say how many there are."""
HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Of a DataModule, for each batch."""


class Streamed:
    """The batches of data loaders; what they draw from global generators they draw from those of this run."""

    order = None
    """They have no samples that could be taken in an order."""
    n_bytes = 0

    def __init__(self, given: Any, seed: int, source: Any, *, double: bool, trains: bool) -> None:
        """`source` is the DataModule whose loaders these are; numbers in float64 where `double` says so.

        Raises:
            NotGatherableError: where its batches are not of tensors alone.
        """
        self._run_seed = seed
        self._double = double
        self._trains = trains
        self._hooks = [getattr(source, name) for name in HOOKS] if transfers(source) else []
        self._loader = _one(given)
        self._own = OwnGenerators(_loaders(given))
        for each in _loaders(given):
            each.num_workers = 0  # a process for each worker of each run would be too many
            each.timeout = 0
        self._first = next(self._epoch(0), None)
        leaves = pytree.tree_leaves(self._first)
        if not leaves or not all(isinstance(each, Tensor) and each.dim() for each in leaves):
            raise NotGatherableError("its batches are not of tensors alone")

    @cached_property
    def _n(self) -> int:
        try:
            return len(self._loader)
        except (TypeError, RuntimeError, NotImplementedError):
            n = sum(1 for _ in islice(self._epoch(0), LONGEST + 1))
        if n > LONGEST:
            raise NotGatherableError(f"its data loader gives more than {LONGEST} batches, and does not say how many")
        return n

    def __len__(self) -> int:
        return self._n

    @property
    def key(self) -> Mapping[str, Hashable]:
        """What must agree with those of another run."""
        return {"the number of {} batches": len(self), "how {} batches are drawn": "as they come"}

    def first(self) -> Any:
        """The first batch of the first epoch."""
        return self._first

    def kinds(self) -> list[Any]:
        """A batch of each size of the first epoch, as far as can be told."""
        size, n = _length(self._first), _n_samples(self._loader)
        rest = n % size if n and not getattr(self._loader, "drop_last", False) else 0
        return [self._first, *([pytree.tree_map(lambda leaf: leaf[:rest], self._first)] if rest else [])]

    def epoch(self, number: int) -> Iterator[Any]:
        """The batches of an epoch.

        Raises:
            RuntimeError: where there are more or fewer than in the first.
        """
        n = 0
        for batch in self._epoch(number if self._trains else 0):
            n += 1
            yield batch
        if n != len(self):
            raise RuntimeError(f"its data loader gives {n} batches in epoch {number}, and {len(self)} in the first one")

    def _epoch(self, number: int) -> Iterator[Any]:
        states = self._begin(number)
        with self._drawing(states):
            batches = iter(self._loader)
            if not number:  # the iterator of the first epoch is made before the epoch begins
                seed_global(self._run_seed, 0)
        while True:
            with self._drawing(states):
                batch = next(batches, None)
                if batch is not None:
                    batch = self._as_given(batch)
            if batch is None:
                return
            yield batch

    def _begin(self, number: int) -> list[Any]:
        """The states of the global generators where an epoch begins."""
        self._own.begin(number)
        for each in _loaders(self._loader):
            samplers: list[Any] = [each.sampler, each.batch_sampler]
            for sampler in samplers:
                if callable(getattr(sampler, "set_epoch", None)):
                    sampler.set_epoch(number)
        with generators_restored():
            seed_global(self._run_seed, *([number] if number else []))
            return [global_states()]

    @contextmanager
    def _drawing(self, states: list[Any]) -> Iterator[None]:
        """Draw from the run's own place in the global generators."""
        with generators_restored():
            set_global_states(states.pop())
            yield
            states.append(global_states())

    def _as_given(self, batch: Any) -> Any:
        if isinstance(self._loader, CombinedLoader):
            batch = batch[0]
        if self._double:
            batch = pytree.tree_map(_doubled, batch)
        for hook in self._hooks:
            batch = hook(batch, torch.device("cpu"), 0) if hook.__name__ == HOOKS[1] else hook(batch, 0)
        return batch


def _doubled(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def transfers(source: Any) -> bool:
    """Whether a DataModule has hooks for each batch."""
    own = isinstance(source, pl.LightningDataModule)
    return own and any(is_overridden(name, source, pl.LightningDataModule) for name in HOOKS)


def _one(given: Any) -> Any:
    """What is iterated over: several loaders side by side, as a Trainer does it, begin anew until the longest ends."""
    if not isinstance(given, Mapping | list | tuple):
        return given
    together = CombinedLoader(given, "max_size_cycle")
    iter(together)  # which it has to be before it knows its length
    return together


def _loaders(given: Any) -> list[DataLoader[Any]]:
    found = given.flattened if isinstance(given, CombinedLoader) else pytree.tree_leaves(given)
    return [each for each in found if isinstance(each, DataLoader)]


def _length(batch: Any) -> int:
    return len(pytree.tree_leaves(batch)[0])


def _n_samples(loader: Any) -> int:
    """Of an epoch, where a loader says it."""
    if not isinstance(loader, DataLoader) or not loader.batch_size:
        return 0
    try:
        return len(loader.sampler)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return 0
