"""The samples of a user's own data loaders, gathered once, in the order in which those loaders would give them."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from shoal.seeding import Stream, derived, generators_restored, seed_global
from shoal.tasks import Batches
from shoal.tasks.data import Split
from shoal.tasks.data_hooks import loaders

MOST = 1 << 30
"""Bytes of the samples of a loader that are gathered."""
_kept: weakref.WeakValueDictionary[bytes, Tensor] = weakref.WeakValueDictionary()
"""Samples by a digest of them: those of several runs are kept once."""


def sampled(
    module: pl.LightningModule, datamodule: pl.LightningDataModule | None, seed: int, *, double: bool
) -> tuple[Batches, Batches | None]:
    """The batches for training and for validation of what a module or a DataModule gives.

    Raises:
        NotGatherableError: where they do not come of fixed samples.
    """
    source: Any = datamodule or module
    hooks = ["transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer"]
    hooks += ["setup"] if datamodule is None else []
    own = [name for name in hooks if is_overridden(name, source)]
    if own:
        raise NotGatherableError(f"{type(source).__name__} has its own {own[0]}")
    with generators_restored():
        seed_global(seed)
        train, val = loaders(module, datamodule)
        if val is None or (isinstance(val, list) and not val):
            return Sampled(train, seed, double=double), None
        if not isinstance(getattr(val, "sampler", None), SequentialSampler):
            raise NotGatherableError("its validation samples do not stay in one order")
        return Sampled(train, seed, double=double), Sampled(val, seed, double=double)


class NotGatherableError(Exception):
    """Samples that cannot be gathered; the message says why."""


class Sampled(Batches):
    """The batches of a data loader; its sampler draws as it does where Lightning trains with this seed."""

    def __init__(self, loader: Any, seed: int, *, double: bool) -> None:
        """Have its samples, numbers in float64 where `double` says so.

        Raises:
            NotGatherableError: where they are no fixed pairs of tensors, or too many.
        """
        super().__init__(_gathered(loader, double=double), batch_size=loader.batch_size, drop_last=loader.drop_last)
        self._loader = loader
        self._run_seed = seed
        own = {each for each in (loader.generator, getattr(loader.sampler, "generator", None)) if each is not None}
        self._generators = {each: (each.get_state(), each.initial_seed()) for each in own}

    def order(self, number: int) -> Tensor:
        """Indices of the samples in the order of this epoch."""
        if isinstance(self._loader.sampler, SequentialSampler):
            return torch.arange(len(self.samples))
        with generators_restored(), self._at(number):
            if number:
                seed_global(self._run_seed, number)
            torch.empty((), dtype=torch.int64).random_(generator=self._loader.generator)  # as an iterator of it does
            if not number:  # the iterator of the first epoch is made before the epoch begins
                seed_global(self._run_seed, 0)
            return torch.tensor(list(self._loader.sampler), dtype=torch.int64)

    @contextmanager
    def _at(self, number: int) -> Iterator[None]:
        """Its own generators as they are when this epoch begins."""
        before = {each: each.get_state() for each in self._generators}
        for each, (state, seed) in self._generators.items():
            if number:
                each.manual_seed(derived(seed, Stream.ORDER, number))
            else:
                each.set_state(state)
        try:
            yield
        finally:
            for each, state in before.items():
                each.set_state(state)


def _gathered(loader: Any, *, double: bool) -> Split:
    if type(loader) is not DataLoader or type(loader.batch_sampler) is not BatchSampler or not loader.batch_size:
        raise NotGatherableError(f"its batches come from a {type(loader).__name__} of its own kind")
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise NotGatherableError("its samples come one after the other")
    n = len(dataset)
    sampler: Any = loader.sampler
    if len(sampler) != n:
        raise NotGatherableError("its sampler does not give each sample once")
    one = _pair(_collated(loader, range(1)), 1)
    if n * sum(each.numel() * each.element_size() for each in one) > MOST:
        raise NotGatherableError(f"its samples are more than {MOST >> 30} GiB")
    before = _drawn()
    fetched = [_collated(loader, range(n)) for _ in range(2)]
    draws = before != _drawn()
    found, again = (_pair(each, n) for each in fetched)
    if draws or not _same(found, again):
        raise NotGatherableError("its samples change each time they are fetched")
    size = min(n, loader.batch_size)
    if not _same([each[:size] for each in found], _pair(_collated(loader, range(size)), size)):
        raise NotGatherableError("what it makes of a sample depends on the batch")
    x, y = (_once(each.double() if double and each.is_floating_point() else each) for each in found)
    return Split(x, y)


def _collated(loader: Any, places: range) -> Any:
    dataset = loader.dataset
    fetched = dataset.__getitems__(list(places)) if hasattr(dataset, "__getitems__") else [dataset[i] for i in places]
    return loader.collate_fn(fetched)


def _pair(batch: Any, n: int) -> Sequence[Tensor]:
    tensors = isinstance(batch, tuple | list) and all(isinstance(each, Tensor) and each.dim() for each in batch)
    if not tensors or len(batch) != 2 or any(len(each) != n for each in batch):
        raise NotGatherableError("its batches are no pairs (x, y) of tensors")
    return list(batch)


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(mine.equal(theirs) for mine, theirs in zip(one, other, strict=True))


def _once(value: Tensor) -> Tensor:
    """The same samples, those of another run where they are the same."""
    content = value.detach().contiguous()
    digest = blake2b(content.view(torch.uint8).numpy().tobytes() if content.numel() else b"")
    digest.update(f"{content.shape} {content.dtype}".encode())
    return _kept.setdefault(digest.digest(), content)


def _drawn() -> str:
    """Where the global generators are."""
    return f"{random.getstate()} {numpy.random.get_state()[1:3]} {torch.get_rng_state().tolist()}"  # type: ignore[index]
