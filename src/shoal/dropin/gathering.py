"""The samples of data loaders, gathered once: batches are taken out of tensors then, in the order of the real sampler.

A job's data set is looked at as bytes: of jobs whose data sets are equal the samples are fetched once for all. They are
fetched from a copy, so that a job whose samples turn out to be no fixed tensors trains as if nobody had looked.
"""

from __future__ import annotations

import io
import pickle
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import (
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.dataloader import _BaseDataLoaderIter

from shoal.dropin.shared_samples import SharedSamples
from shoal.engines.fixed_samples import NotGatherableError, fixed_samples, refuse
from shoal.errors import brief
from shoal.seeding import generators_restored

KNOWN = (RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers that draw all of an epoch's order when it begins."""
_SEEN_AGAIN = 16
"""One sample in so many is fetched again, to see whether it is the same: of small data sets one in fewer."""


@dataclass(frozen=True, eq=False)
class SampleTensors:
    """What a data set and its `collate_fn` give, as tensors with all samples as their first dimension."""

    leaves: list[Tensor]
    spec: Any

    def batch(self, places: Tensor) -> Any:
        """The batch of these samples."""
        return pytree.tree_unflatten([leaf.index_select(0, places) for leaf in self.leaves], self.spec)


@dataclass(frozen=True, eq=False)
class Feed:
    """The samples of a loader, which may be some of those that are gathered."""

    samples: SampleTensors
    indices: Tensor | None

    def places(self, batch: Sequence[int]) -> Tensor:
        """Where the samples of a batch are."""
        chosen = torch.as_tensor(batch, dtype=torch.int64)
        return chosen if self.indices is None else self.indices[chosen]


class GatheredIterator(_BaseDataLoaderIter):
    """Iterates over a data loader as its own iterator does, its samples taken out of tensors."""

    def __init__(self, loader: Any, feed: Feed) -> None:
        # Torch's own part first: it draws the base of the workers' seeds, as the loader's own iterator would.
        super().__init__(loader)
        self.feed = feed
        self._ahead: deque[Any] = deque()

    def order(self) -> list[Any]:
        """The batches that are still to come, as lists of indices; they come nonetheless."""
        self._ahead.extend(self._sampler_iter)
        return list(self._ahead)

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._ahead.clear()

    def _next_data(self) -> Any:
        batch = self._ahead.popleft() if self._ahead else next(self._sampler_iter)
        return self.feed.samples.batch(self.feed.places(batch))


class Gathering:
    """The samples that were gathered in this process."""

    def __init__(self, *, at_once: bool, shared: SharedSamples | None = None) -> None:
        """`at_once` says to gather samples when they are first iterated over; otherwise it is done at the second time.

        `shared` are those of other processes.
        """
        self._shared = shared
        self._times = 0 if at_once else 1
        self._kept: weakref.WeakValueDictionary[bytes, SampleTensors] = weakref.WeakValueDictionary()
        # Between two jobs that run one after the other nobody else holds their samples.
        self._lately: deque[SampleTensors] = deque(maxlen=4)
        self._feeds: weakref.WeakKeyDictionary[Any, Feed | None] = weakref.WeakKeyDictionary()
        self._seen: dict[bytes, int] = {}
        self._refused: dict[bytes, str] = {}
        self.reasons: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        """Why a loader's samples are not gathered."""

    def feed(self, loader: Any) -> Feed | None:
        """The samples of a loader; None where its own iterator has to fetch them."""
        if loader not in self._feeds:
            try:
                found = self._feed(loader)
            except NotGatherableError as error:
                self.reasons[loader] = str(error)
                found = None
            except Exception as error:  # whatever a data set of anybody's does when it is copied or fetched from
                self.reasons[loader] = brief(error)
                found = None
            if found is None and loader not in self.reasons:
                return None  # not yet
            self._feeds[loader] = found
        return self._feeds[loader]

    def _feed(self, loader: Any) -> Feed | None:
        _refuse(loader)
        dataset, indices = _whole(loader.dataset)
        whole = dataset, loader.collate_fn
        key = _digest(whole)
        if key in self._refused:
            raise NotGatherableError(self._refused[key])
        samples = self._kept.get(key)
        if samples is None:
            self._seen[key] = self._seen.get(key, 0) + 1
            if self._seen[key] <= self._times:
                return None
            samples = self._fetched(key, whole)
        return Feed(samples, indices)

    def _fetched(self, key: bytes, whole: tuple[Any, Any]) -> SampleTensors:
        dataset, collate = pickle.loads(_content(whole))
        try:
            with generators_restored():
                # 64 samples at least, or all of them where there are fewer.
                again = max(1, min(_SEEN_AGAIN, len(dataset) // 64))
                gather = partial(fixed_samples, dataset, collate, again=again)
                samples = SampleTensors(*(self._shared.get(key.hex(), gather) if self._shared else gather()))
        except Exception as error:
            self._refused[key] = str(error)
            raise
        self._kept[key] = samples
        self._lately.append(samples)
        return samples


class _ByContent(pickle.Pickler):
    """Makes equal bytes of equal tensors; torch writes where they lie in memory."""

    def reducer_override(self, value: Any) -> Any:
        plain = type(value) is Tensor and value.layout is torch.strided and value.device.type == "cpu"
        if plain and not value.requires_grad and value.dtype in _OF_NUMPY:
            # By its values: a view holds the same samples as a copy.
            return _tensor, (value.contiguous().numpy(),)
        return NotImplemented


_OF_NUMPY = (torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(values.copy())


def _content(value: Any) -> bytes:
    file = io.BytesIO()
    _ByContent(file, protocol=5).dump(value)
    return file.getvalue()


def _digest(value: Any) -> bytes:
    """The same for equal values; the memory of tensors and arrays is read where it lies."""
    file, memory = io.BytesIO(), list[pickle.PickleBuffer]()
    _ByContent(file, protocol=5, buffer_callback=memory.append).dump(value)
    found = sha256(file.getbuffer())
    for each in memory:
        found.update(each.raw())
    return found.digest()


def _refuse(loader: Any) -> None:
    refuse(loader)
    if type(loader.sampler) not in KNOWN:
        raise NotGatherableError(f"its order comes from a {type(loader.sampler).__name__} of its own kind")
    # Lightning's own only seeds workers, and samples that draw are refused anyway.
    init: Any = loader.worker_init_fn
    if init is not None and not (isinstance(init, partial) and init.func.__name__ == "pl_worker_init_function"):
        raise NotGatherableError("its worker processes begin with a function of its own")


def _whole(dataset: Any) -> tuple[Any, Tensor | None]:
    """The data set that the samples are a larger part of, and which of them they are."""
    indices: Tensor | None = None
    # A small part is gathered by itself: the whole would be fetched for samples that nobody asks for.
    while type(dataset) is Subset and 4 * len(dataset.indices) > _size(dataset.dataset):
        own = torch.as_tensor(list(dataset.indices), dtype=torch.int64)
        indices = own if indices is None else own[indices]
        dataset = dataset.dataset
    return dataset, indices


def _size(dataset: Any) -> int:
    return len(dataset)
