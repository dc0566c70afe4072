"""The batches of a user's own data loaders as they come, drawn for each run where Lightning would draw them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.data import sized_len
from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, IterDataPipe

from shoal.engines.batch_forms import FIRST, BatchForms
from shoal.engines.fixed_samples import NotGatherableError, counts
from shoal.engines.generators import OwnGenerators
from shoal.engines.without_workers import WithoutWorkers
from shoal.seeding import generators_restored, global_states, seed_global, set_global_states
from shoal.step.batch_parts import formed, is_of_tensors
from shoal.step.exact.rows import same_numbers
from shoal.tasks.asked_trainer import AskedTrainer

LONGEST = 10_000
"""Batches of an epoch that are counted, where the loader does not say how many there are."""
HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Of a DataModule, for each batch."""


@runtime_checkable
class Before(Protocol):
    """The batches for training, or of another data loader, after which those of a validation are drawn."""

    own: OwnGenerators

    def left(self, number: int) -> Any:
        """The states of the global generators after this epoch; None where it was not the last one drawn."""


class Streamed:
    """The batches of data loaders; what they draw from global generators they draw from those of this run."""

    order = None
    """They have no samples that could be taken in an order."""
    n_bytes = 0

    def __init__(
        self,
        given: Any,
        seed: int,
        source: Any,
        *,
        double: bool,
        limit: float | int | None = None,
        after: Before | None = None,
        place: int = 0,
    ) -> None:
        """`source` is the DataModule whose loaders these are; numbers in float64 where `double` says so.

        `limit` is what the Trainer's limit for them says. `after` are the batches that are drawn before these, where
        these are for validation: those for training, or of the data loader before this one, whose number is `place`.

        Raises:
            NotGatherableError: where its batches are not of tensors alone.
        """
        self._run_seed = seed
        self._double = double
        self._after = after
        self._place = place
        self._hooks = [getattr(source, name) for name in HOOKS] if transfers(source) else []
        self._trainer = asked(source)
        self._loaders = _loaders(given)
        self.own = OwnGenerators(self._loaders, seed, but=after.own if after else None)
        self._together = _together(given, validates=after is not None)
        if isinstance(limit, int) and limit:
            # As Lightning does, so that the fetcher knows which batch is the last.
            self._together.limits = [min(limit, _length_of(each)) for each in self._together.flattened]
        self._left: tuple[int, Any] = (-1, None)
        self._forms: BatchForms | None = None
        self._first = next(self._epoch(0), None)
        # Drawn again from the same states: a loader that counts on would give another batch.
        counted = self._counts()
        leaves, again = (pytree.tree_leaves(each) for each in (self._first, next(self._epoch(0), None)))
        if not any(isinstance(each, Tensor) and each.dim() for each in leaves):
            raise NotGatherableError("its batches hold no tensors with a row for each sample")
        alike = len(leaves) == len(again) and all(map(same_numbers, leaves, again))
        # What it counts may make a difference in a later epoch alone.
        if not alike or counted != self._counts():
            why = "its batches depend on how often they were drawn"
            raise NotGatherableError(f"{why}: of a loader whose iterator begins anew in each epoch they do not")
        if not is_of_tensors(self._first):
            self._forms = BatchForms(islice(self._epoch(0), FIRST))
            self._first = self._forms.kinds[0]

    @cached_property
    def _n(self) -> int:
        n = sized_len(self._together)
        if n is None:
            n = sum(1 for _ in islice(self._epoch(0), LONGEST + 1))
        if n > LONGEST:
            raise NotGatherableError(f"its data loader gives more than {LONGEST} batches, and does not say how many")
        return n

    def __len__(self) -> int:
        return self._n

    @property
    def key(self) -> Mapping[str, Hashable]:
        """What must agree with those of another run."""
        found: dict[str, Hashable] = {
            "the number of {} batches": len(self),
            "how {} batches are drawn": "as they come",
        }
        if is_of_tensors(self._first):
            return found
        return found | {"the form of the {} batches": str(pytree.tree_structure(self._first))}

    def first(self) -> Any:
        """The first batch of the first epoch."""
        return self._first

    def kinds(self) -> list[Any]:
        """A batch of each size of the first epoch, as far as can be told."""
        if self._forms:  # what they hold beside tensors may differ with their size
            return self._forms.kinds
        loader = self._loaders[0] if len(self._loaders) == 1 else None
        size, n = _length(self._first), _n_samples(loader)
        rest = n % size if n and not getattr(loader, "drop_last", False) else 0
        smaller = pytree.tree_map(lambda leaf: leaf[:rest] if leaf.dim() else leaf, self._first)
        return [self._first, *([smaller] if rest else [])]

    def epoch(self, number: int) -> Iterator[Any]:
        """The batches of an epoch.

        Raises:
            RuntimeError: where there are more or fewer than in the first, or one holds other values beside its tensors.
        """
        n = 0
        for batch in self._epoch(number):
            n += 1
            if not self._is_formed(batch):
                raise RuntimeError(f"batch {n - 1} of epoch {number} holds other values beside its tensors")
            yield batch
        if n != len(self):
            raise RuntimeError(f"its data loader gives {n} batches in epoch {number}, and {len(self)} in the first one")

    def _is_formed(self, batch: Any) -> bool:
        """Whether a batch has the plain values that the steps of its shapes have been traced with."""
        if self._forms is None:
            if is_of_tensors(batch):
                return True
            # The first one after others of tensors alone: a loader that has ended before another leaves None.
            self._forms = BatchForms([self._first])
        return self._forms.knows(batch)

    def _counts(self) -> list[dict[str, Any]]:
        """What the loaders, their samplers and their data sets count."""
        parts = ("sampler", "batch_sampler", "dataset")
        return [counts(each) for one in self._loaders for each in (one, *(getattr(one, name, None) for name in parts))]

    def left(self, number: int) -> Any:
        """As `Before` says."""
        epoch, states = self._left
        return states if epoch == number else None

    def _epoch(self, number: int) -> Iterator[Any]:
        """Fetched as Lightning fetches: of loaders without a length a batch is drawn ahead."""
        states = self._begin(number)
        fetcher = _PrefetchDataFetcher()
        fetcher.setup(self._together)
        with self._drawing(states):
            self._tell(number)
            if not number:
                _look_at_each(self._together.flattened)
            iter(fetcher)
            if not (number or self._after):  # the iterator of the first epoch is made before the epoch begins
                seed_global(self._run_seed, 0)
        while not fetcher.done:
            with self._drawing(states):
                self._tell(number)
                fetched = next(fetcher, None)
                batch = None if fetched is None else self._as_given(fetched[0])
            # At each batch: after the last one that a limit leaves, nobody asks for more.
            self._left = (number, states[0])
            if fetched is None:
                return
            # Outside of the block: who takes the batch draws from generators of its own.
            yield batch

    def _begin(self, number: int) -> list[Any]:
        """The states of the global generators where an epoch begins."""
        self.own.begin(number)
        for each in self._loaders:
            samplers: list[Any] = [getattr(each, name, None) for name in ("sampler", "batch_sampler")]
            for sampler in samplers:
                if callable(getattr(sampler, "set_epoch", None)):
                    sampler.set_epoch(number)
        if self._after and (left := self._after.left(number)):
            return [left]
        with generators_restored():
            # Before its first epoch `fit` has seeded them for the run; in each epoch they are seeded for that.
            seed_global(self._run_seed, *([number] if number or self._after else []))
            return [global_states()]

    @contextmanager
    def _drawing(self, states: list[Any]) -> Iterator[None]:
        """Draw from the run's own place in the global generators."""
        with generators_restored():
            set_global_states(states.pop())
            yield
            states.append(global_states())

    def _tell(self, number: int) -> None:
        """Let the DataModule's Trainer be in this epoch."""
        if self._trainer:
            self._trainer.tell(number, validates=self._after is not None)

    def _as_given(self, batch: Any) -> Any:
        if self._double:
            batch = pytree.tree_map(_doubled, batch)
        for hook in self._hooks:
            # The second of them is told a device: the CPU, from where the stack moves all batches together.
            batch = hook(batch, *([torch.device("cpu")] if hook.__name__ == HOOKS[1] else []), self._place)
        whole = formed(batch)
        return self._forms.shown(whole) if self._forms else whole


def begin(given: Any) -> None:
    """Draw what a Trainer draws as it begins to iterate over the data loaders for training.

    Those for validation are made after that, and may draw as they are made, as a sampler does that keeps a generator.
    """
    own, flat = OwnGenerators(_loaders(given)), _loaders(given)
    fetcher = _PrefetchDataFetcher()
    fetcher.setup(_together(given, validates=False))
    _look_at_each(flat)
    iter(fetcher)
    own.begin(0)
    if isinstance(given, CombinedLoader):
        given.flattened = flat


def _look_at_each(loaders: Iterable[Any]) -> None:
    """Begin loaders of a class of their own once for nothing, as a Trainer does to see that it can.

    One that draws its order as it begins has drawn it once more then.
    """
    for each in loaders:
        if not isinstance(each, DataLoader | WithoutWorkers):
            iter(each)


def _doubled(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def asked(source: Any) -> AskedTrainer | None:
    """The Trainer that a DataModule asks."""
    found = source.trainer if isinstance(source, pl.LightningDataModule) else None
    return found if isinstance(found, AskedTrainer) else None


def transfers(source: Any) -> bool:
    """Whether a DataModule has hooks for each batch."""
    own = isinstance(source, pl.LightningDataModule)
    return own and any(is_overridden(name, source, pl.LightningDataModule) for name in HOOKS)


def _together(given: Any, *, validates: bool) -> CombinedLoader:
    """What a Trainer iterates over: several loaders for training side by side, begun anew until the longest ends.

    Raises:
        NotGatherableError: for a data pipe with workers, which it seeds in a way of its own, and for loaders that are
            to be trained on one after the other, which it refuses.
    """
    if not validates and getattr(given, "_mode", None) == "sequential":
        raise NotGatherableError("Lightning trains on no several loaders in the mode sequential")
    if isinstance(given, CombinedLoader):
        together = given
    else:
        together = CombinedLoader(given, "sequential" if validates else "max_size_cycle")
    piped = [each for each in _loaders(given) if isinstance(getattr(each, "dataset", None), IterDataPipe)]
    if any(each.num_workers for each in piped):
        raise NotGatherableError("its samples come from a data pipe with workers")
    flat = together.flattened
    together.flattened = [WithoutWorkers(each) if getattr(each, "num_workers", 0) else each for each in flat]
    return together


def _loaders(given: Any) -> list[Any]:
    """The data loaders, of whatever class."""
    return list(given.flattened) if isinstance(given, CombinedLoader) else pytree.tree_leaves(given)


def _length_of(loader: Any) -> float:
    n = sized_len(loader)
    return float("inf") if n is None else n


def _length(batch: Any) -> int:
    return next(len(each) for each in pytree.tree_leaves(batch) if each.dim())


def _n_samples(loader: Any) -> int:
    """Of an epoch, where a loader says it."""
    if not isinstance(loader, DataLoader) or not loader.batch_size:
        return 0
    try:
        return len(loader.sampler)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return 0
