"""The samples of a user's own data loaders, gathered once, in the order in which those loaders would give them."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler

from shoal.engines.fixed_samples import NotGatherableError, counts, fetched_as, fixed_samples, refuse
from shoal.engines.generators import OwnGenerators
from shoal.engines.without_workers import asked_at_once
from shoal.seeding import generators_restored, global_states, seed_global
from shoal.tasks.asked_trainer import AskedTrainer

_OF_TORCH = (RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers whose order follows from their generator alone."""
_kept: weakref.WeakValueDictionary[bytes, Tensor] = weakref.WeakValueDictionary()
"""Samples by a digest of them: those of several runs are kept once."""


class Sampled:
    """The batches of a data loader whose samples are fixed; its sampler draws as where Lightning is seeded."""

    def __init__(self, loader: Any, seed: int, *, double: bool, trainer: AskedTrainer | None = None) -> None:
        """Have its samples, numbers in float64 where `double` says so; they may ask this Trainer where it stands.

        Raises:
            NotGatherableError: where they are not fixed, or not tensors, or too many.
        """
        self.own = OwnGenerators([loader], seed)
        try:
            self.tensors, self._structure = _gathered(loader, trainer, double=double)
        finally:
            # Fetching the samples has moved the generators that they draw from.
            self.own.begin(0)
        self._batch_size = loader.batch_size
        n = len(loader.sampler)
        self._n = n // loader.batch_size * loader.batch_size if loader.drop_last else n
        self._loader = loader
        self._run_seed = seed
        if type(loader.sampler) not in _OF_TORCH:
            self._refuse_counting()

    def __len__(self) -> int:
        return len(self.sizes())

    @property
    def n_bytes(self) -> int:
        """Bytes of the samples."""
        return sum(each.numel() * each.element_size() for each in self.tensors)

    @property
    def key(self) -> Mapping[str, Hashable]:
        """What must agree with those of another run."""
        return {
            "the number of {} samples": len(self.tensors[0]),
            "the {} batch size": self._batch_size,
            "the number of {} samples in an epoch": self._n,
            "the form of the {} batches": str(self._structure),
        }

    def batch(self, parts: Sequence[Tensor]) -> Any:
        """What the module is given, of the parts of some samples."""
        return pytree.tree_unflatten(list(parts), self._structure)

    def first(self) -> Any:
        """The first samples, as many as a batch has."""
        return self.batch([each[: self._batch_size] for each in self.tensors])

    def sizes(self) -> list[int]:
        """Samples of each batch of an epoch."""
        return [min(self._batch_size, self._n - begin) for begin in range(0, self._n, self._batch_size)]

    def stand(self) -> bool:
        """Whether a few of them would be fetched as they were gathered."""
        with generators_restored():
            return fetched_as(self._loader.dataset, self._loader.collate_fn, self.tensors)

    def order(self, number: int) -> Tensor:
        """Indices of the samples in the order of this epoch."""
        if isinstance(self._loader.sampler, SequentialSampler):
            return torch.arange(self._n)
        with generators_restored():
            return self._ordered(number)

    def order_seed(self, number: int) -> None:
        """None: the loader's own sampler has it."""
        del number

    def left(self, number: int) -> Any:
        """The states of the global generators after this epoch."""
        with generators_restored():
            self._ordered(number)
            return global_states()

    def _refuse_counting(self) -> None:
        """See that the sampler gives an epoch the same order whenever it is asked.

        Raises:
            NotGatherableError: where it does not.
        """
        with generators_restored():
            first, before = self._ordered(0), counts(self._loader.sampler)
            # What it counts may make a difference in a later epoch alone.
            if not torch.equal(first, self._ordered(0)) or counts(self._loader.sampler) != before:
                raise NotGatherableError("its order depends on how often it was drawn")

    def _ordered(self, number: int) -> Tensor:
        """As the loader's iterator has it: workers are sent their first places as it is made."""
        loader = self._loader
        self.own.begin(number)
        if callable(getattr(loader.sampler, "set_epoch", None)):
            loader.sampler.set_epoch(number)
        seed_global(self._run_seed, *([number] if number else []))
        batches = iter(loader.batch_sampler)
        # The iterator draws the base of its workers' seeds here, even where there are no workers.
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
        places = list(islice(batches, asked_at_once(loader)))
        if not number:  # the iterator of the first epoch is made before the epoch begins
            seed_global(self._run_seed, 0)
        places += list(batches)
        self.own.begin(0)
        return torch.tensor([each for batch in places for each in batch], dtype=torch.int64)[: self._n]


def _gathered(loader: Any, trainer: AskedTrainer | None, *, double: bool) -> tuple[list[Tensor], pytree.TreeSpec]:
    def told(time: int) -> None:
        if trainer:
            # Once as in the first epoch's training, once as in a later validation: a data set may ask for these.
            trainer.tell(time, validates=bool(time))

    refuse(loader)
    found, structure = fixed_samples(loader.dataset, loader.collate_fn, size=loader.batch_size, told=told)
    return [_once(each.double() if double and each.is_floating_point() else each) for each in found], structure


def _once(value: Tensor) -> Tensor:
    """The same samples, those of another run where they are the same."""
    content = value.detach().contiguous()
    digest = blake2b(content.view(torch.uint8).numpy().tobytes() if content.numel() else b"")
    digest.update(f"{content.shape} {content.dtype}".encode())
    return _kept.setdefault(digest.digest(), content)
