"""The samples of a user's own data set as tensors, where they are the same whenever they are fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, strided
from torch.utils import _pytree as pytree
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from shoal.seeding import drawn_so_far
from shoal.step.attributes import PLAIN
from shoal.step.exact.rows import same_numbers

MOST = 1 << 30
"""Bytes of samples that are gathered of a data set."""
_FEW = 3
"""Samples that are put together once more by themselves: a function that pads makes of one what its neighbors are."""
_SINGLE = 32
"""Samples that are put together one by one: the first few may be as long as the longest of all."""


class NotGatherableError(Exception):
    """Samples that cannot be gathered; the message says why."""


def refuse(loader: Any) -> None:
    """Refuse a data loader whose batches are not some samples of a data set, put together.

    Raises:
        NotGatherableError: with the reason.
    """
    if type(loader) is not DataLoader or type(loader.batch_sampler) is not BatchSampler or not loader.batch_size:
        raise NotGatherableError(f"its batches come from a {type(loader).__name__} of its own kind")
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise NotGatherableError("its samples come one after the other")


def fixed_samples(
    dataset: Any,
    collate: Callable[[Any], Any],
    *,
    size: int = 1,
    again: int = 1,
    told: Callable[[int], None] = lambda time: None,
) -> tuple[list[Tensor], pytree.TreeSpec]:
    """All samples as `collate` puts them together: tensors with a row for each, and how a batch is made of them.

    A batch has `size` of them. One in `again` is fetched twice; `told` is called with 0 and with 1 before the first and
    the second time.

    Raises:
        NotGatherableError: where they change or draw, are no plain tensors, or are more than `MOST` bytes.
    """
    n = len(dataset)
    if not n:
        raise NotGatherableError("there are none")
    told(0)
    # A single one first: it says whether all of them fit before they are fetched.
    one, _ = _rows(collate(_fetched(dataset, range(1))), 1)
    if n * sum(each.numel() * each.element_size() for each in one) > MOST:
        raise NotGatherableError(f"its samples are more than {MOST >> 30} GiB")
    before = drawn_so_far()
    whole, counted = collate(_fetched(dataset, range(n))), counts(dataset)
    told(1)
    chosen = range(0, n, again)
    some = collate(_fetched(dataset, chosen))
    if before != drawn_so_far():
        raise NotGatherableError("its samples are drawn each time they are fetched")
    found, structure = _rows(whole, n)
    if not _same([each[:: chosen.step] for each in found], _rows(some, len(chosen))[0]):
        raise NotGatherableError("its samples change each time they are fetched")
    if again == 1 and counts(dataset) != counted:
        raise NotGatherableError("its samples may depend on how often they were fetched")
    singles = [range(place, place + 1) for place in range(0, n, max(1, n // _SINGLE))]
    # One of the size that batches have: what fills up others may leave it as it is. All of them are one already.
    for few in (range(min(n, _FEW)), range(size if size < n else 1), *singles):
        if not _same(
            [each[few.start : few.stop] for each in found], _rows(collate(_fetched(dataset, few)), len(few))[0]
        ):
            raise NotGatherableError("what it makes of a sample depends on the batch")
    return found, structure


def fetched_as(dataset: Any, collate: Callable[[Any], Any], known: Sequence[Tensor]) -> bool:
    """Whether the first samples of a data set, and its last, are fetched as they are known."""
    n = len(known[0])
    for few in (range(min(n, _FEW)), range(n - 1, n)):
        rows, _ = _rows(collate(_fetched(dataset, few)), len(few))
        own = [each[few.start : few.stop] for each in known]
        if not _same(own, [each.to(mine.dtype) for each, mine in zip(rows, own, strict=True)]):
            return False
    return True


def counts(thing: Any) -> dict[str, Any]:
    """The numbers and the like that a data set or a sampler has as attributes: it may count what is asked of it."""
    return {name: value for name, value in getattr(thing, "__dict__", {}).items() if isinstance(value, PLAIN)}


def _fetched(dataset: Any, places: range) -> Any:
    if getattr(dataset, "__getitems__", None):
        return dataset.__getitems__(list(places))
    return [dataset[place] for place in places]


def _rows(batch: Any, n: int) -> tuple[list[Tensor], pytree.TreeSpec]:
    """The tensors of a batch of so many samples, and how they are put together."""
    leaves, structure = pytree.tree_flatten(batch)
    if not leaves or any(not isinstance(each, Tensor) or not each.dim() or len(each) != n for each in leaves):
        raise NotGatherableError("its batches are not of tensors alone, with a row for each sample")
    if any(each.device.type != "cpu" or each.requires_grad or each.layout is not strided for each in leaves):
        raise NotGatherableError("its batches are not of plain tensors in memory")
    return leaves, structure


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Whether the tensors are alike and hold equal numbers."""
    return len(one) == len(other) and all(
        mine.dtype == theirs.dtype
        # nan is not equal to itself: a data set with gaps would never be the same twice.
        and same_numbers(mine, theirs)
        for mine, theirs in zip(one, other, strict=True)
    )
