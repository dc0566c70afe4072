"""Batches of a stack: those of its runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from math import prod
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.engines.stack.moving import HOST
from shoal.engines.stack.permutations import permutations
from shoal.step.unfit import CannotStackError

AT_ONCE = 1 << 20
"""Bytes of an epoch's samples up to which one call gathers them: one for each batch takes three times as long."""


@runtime_checkable
class InMemory(Protocol):
    """The batches of a run, gathered from samples in memory."""

    @property
    def tensors(self) -> Sequence[Tensor]:
        """Inputs, targets and whatever else a sample has: a row for each."""

    def __len__(self) -> int: ...

    def sizes(self) -> list[int]:
        """Samples of each batch of an epoch."""

    def order(self, number: int) -> Int[Tensor, " samples"]:
        """Places of the samples in the order of an epoch."""

    def order_seed(self, number: int) -> int | None:
        """The seed with which `torch.randperm` draws that order of all samples; None of one that comes otherwise."""

    def batch(self, parts: Sequence[Tensor]) -> Any:
        """A batch made of its parts."""


@runtime_checkable
class AsTheyCome(Protocol):
    """The batches of a run, which only its own data loader can tell."""

    def __len__(self) -> int: ...

    def kinds(self) -> list[Any]:
        """A batch of each size."""

    def epoch(self, number: int) -> Iterator[Any]:
        """Those of an epoch."""


class Gathered:
    """The batches of several runs side by side; every run has as many samples and the same batch size."""

    def __init__(self, runs: Sequence[InMemory], device: torch.device = HOST) -> None:
        """The samples are kept on `device`, and their batches are there."""
        self.runs = runs
        self.device = device
        self._sizes = runs[0].sizes()
        n_samples = len(runs[0].tensors[0])
        self._parts = [_Part(each, device) for each in zip(*(run.tensors for run in runs), strict=True)]
        # (runs, 1): the samples of all runs lie one run behind the other, each with its own from here on.
        self._starts = torch.tensor([[i * n_samples] for i in range(len(runs))])

    def __len__(self) -> int:
        return len(self._sizes)

    @cached_property
    def n_bytes(self) -> int:
        """Bytes of an epoch's samples of all runs."""
        return sum(each.numel() * each.element_size() for run in self.runs for each in run.tensors)

    def kinds(self, *, dtype: torch.dtype, end: int) -> Iterator[Any]:
        """A batch of each size that is among the first `end` of an epoch, made of the first samples of each run."""
        for size in dict.fromkeys(self._sizes[:end]):
            parts = zip(*(run.tensors for run in self.runs), strict=True)
            firsts = [torch.stack([each[:size] for each in part]).to(self.device) for part in parts]
            yield self._batch(firsts, dtype)

    def epoch(self, number: int, *, dtype: torch.dtype, first: int = 0, end: int | None = None) -> Iterator[Any]:
        """The epoch's batches, their tensors of shape (runs, batch, ...); numbers in `dtype`.

        They are those from `first` to before `end`.
        """
        sizes, begin = self._sizes[first:end], sum(self._sizes[:first])
        # An order has all samples, those of a last batch that is dropped among them.
        orders = self._orders(number)[:, begin : begin + sum(sizes)]
        # In samples that all runs share, and in those that lie one run behind the other.
        places = {
            shared: [each.flatten() for each in torch.split((orders + starts).to(self.device), sizes, dim=1)]
            for shared, starts in ((True, 0), (False, self._starts))
            if any(part.shared is shared for part in self._parts)
        }
        batches = [part.batches(places[part.shared], len(self.runs)) for part in self._parts]
        for parts in zip(*batches, strict=True):
            yield self._batch(parts, dtype)

    def _orders(self, number: int) -> Int[Tensor, "runs samples"]:
        seeds = [seed for run in self.runs if (seed := run.order_seed(number)) is not None]
        # One that is not drawn, or drawn by somebody else's sampler, is asked for.
        if len(seeds) < len(self.runs):
            return torch.stack([run.order(number) for run in self.runs])
        return permutations(seeds, len(self.runs[0].tensors[0]))

    def _batch(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Any:
        return self.runs[0].batch([_in(each, dtype) for each in parts])


class Streams:
    """The batches of several runs side by side, each from its own data loader."""

    def __init__(self, runs: Sequence[AsTheyCome], device: torch.device = HOST) -> None:
        """The batches are brought to `device`."""
        self.runs = runs
        self.device = device

    def __len__(self) -> int:
        return len(self.runs[0])

    def kinds(self, *, dtype: torch.dtype, end: int) -> Iterator[Any]:
        """A batch of each size, as far as is known before."""
        for each in zip(*(run.kinds()[:end] for run in self.runs), strict=True):
            yield self._beside(each, dtype)

    def epoch(self, number: int, *, dtype: torch.dtype, first: int = 0, end: int | None = None) -> Iterator[Any]:
        """An epoch's batches, as of samples in memory; a run that only fills up the stack has those of its original."""
        different = {id(run): run for run in self.runs}
        batches = zip(*(run.epoch(number) for run in different.values()), strict=True)
        for each in islice(batches, first, end):
            own = dict(zip(different, each, strict=True))
            yield self._beside([own[id(run)] for run in self.runs], dtype)

    def _beside(self, batches: Sequence[Any], dtype: torch.dtype) -> Any:
        leaves, forms = zip(*map(pytree.tree_flatten, batches), strict=True)
        if any(form != forms[0] for form in forms[1:]):
            raise CannotStackError(
                "is given other values beside the tensors of a batch in each run",
                "as tensors of the batch they may differ",
            )
        every = [_in(_stacked(each), dtype).to(self.device) for each in zip(*leaves, strict=True)]
        return pytree.tree_unflatten(every, forms[0])


def side_by_side(runs: Sequence[Any], device: torch.device = HOST) -> Gathered | Streams:
    """The batches of the runs of a stack, all of one kind, on its device."""
    return Streams(runs, device) if runs[0].order is None else Gathered(runs, device)


def for_validation(runs: Sequence[Sequence[Any]], device: torch.device = HOST) -> list[Gathered | Streams]:
    """The same of each data loader for validation; every run has as many of them."""
    return [side_by_side(each, device) for each in zip(*runs, strict=True)]


def _in(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of a batch of each run as one.

    Raises:
        CannotStackError: where they have not one shape.
    """
    shapes = dict.fromkeys("x".join(map(str, each.shape)) for each in tensors)
    if len(shapes) > 1:
        some = " and ".join([*shapes][:2])
        raise CannotStackError(
            f"is given batches of other shapes in other runs, as {some}", "filled up to one shape, they stack"
        )
    return torch.stack(list(tensors))


class _Part:
    """Inputs, targets or weights of several runs; kept once where they are the same tensor in all of them."""

    def __init__(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self.shared = all(each is tensors[0] for each in tensors)
        self._shape = tensors[0].shape[1:]
        self._values = _flat(torch.cat(list(tensors[:1] if self.shared else tensors))).to(device)

    def batches(self, index: Sequence[Tensor], runs: int) -> Iterator[Tensor]:
        """The values at the places of each batch, which are those of all runs in a row: of shape (runs, batch, ...)."""
        sizes = [len(each) for each in index]
        taken: Iterable[Tensor] = map(self._take, index)
        if 0 < sum(sizes) * self._values.element_size() * prod(self._shape) <= AT_ONCE:
            taken = torch.split(self._take(torch.cat(list(index))), sizes)
        return (each.view(runs, len(each) // runs, *self._shape) for each in taken)

    def _take(self, places: Int[Tensor, " places"]) -> Tensor:
        return self._values.index_select(0, places)


def _flat(samples: Tensor) -> Tensor:
    """Single numbers without their last dimension: a third of the time to gather."""
    return samples.flatten() if samples.numel() == len(samples) else samples
