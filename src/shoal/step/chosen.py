"""Choosing by flags in a step that is mapped over runs, where each run chooses equally many.

How many flags are true is a shape, and a mapping has one shape for all runs. Where they choose equally many, as of
labels that are all there, the places of those are tensors of one shape. For that the step looks at values, so it is not
traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from shoal.step.unfit import CannotStackError


class TracedError(Exception):
    """A step that is traced looks at values, of which there are others in each step."""


def places(flags: Tensor) -> tuple[Tensor, ...]:
    """Where the flags are true, an index for each dimension: `flags.nonzero(as_tuple=True)`.

    Raises:
        CannotStackError: where there are more of them in one run than in another.
    """
    n = _n_true(flags)
    # Stable, so that those that are true come first, and in their order.
    found = (~flags.flatten()).to(torch.uint8).argsort(stable=True)[:n]
    return torch.unravel_index(found, flags.shape)


def chosen(source: Tensor, place: Any) -> Tensor:
    """`source[place]`."""
    if _is_flags(place):
        return source[places(place)]
    if isinstance(place, tuple) and any(map(_is_flags, place)):
        parts = [places(each) if _is_flags(each) else (each,) for each in place]
        return source[tuple(index for part in parts for index in part)]
    return source[place]


def masked_select(source: Tensor, mask: Tensor) -> Tensor:
    """`torch.masked_select`, which broadcasts both to one shape."""
    source, mask = torch.broadcast_tensors(source, mask)  # type: ignore[no-untyped-call]
    return chosen(source, mask)


def nonzero(source: Tensor, *, as_tuple: bool = False) -> Any:
    """`torch.nonzero`."""
    found = places(source != 0)
    return found if as_tuple else torch.stack(found, -1)


def where(condition: Tensor, *others: Any, **kwargs: Any) -> Any:
    """`torch.where`, of which that with a condition alone chooses."""
    return torch.where(condition, *others, **kwargs) if others or kwargs else places(condition != 0)


def _is_flags(place: Any) -> bool:
    # Without a dimension there is nothing to choose from: torch puts one of length one, or none, in front.
    return isinstance(place, Tensor) and place.dtype is torch.bool and place.dim() > 0


def _n_true(flags: Tensor) -> int:
    """How many are true in each run."""
    runs, place = flags, None
    while _functorch.is_functorch_wrapped_tensor(runs):
        if _functorch.is_functionaltensor(runs):
            raise TracedError("the step chooses by values")
        place = _functorch.maybe_get_bdim(runs) if _functorch.is_batchedtensor(runs) else place
        runs = _functorch.get_unwrapped(runs)
    counts = [int(runs.sum())] if place is None else runs.movedim(place, 0).flatten(1).sum(1).tolist()
    if len(set(counts)) > 1:
        raise CannotStackError(
            "makes a tensor whose shape depends on values, another one in each run",
            "a product with the mask has a fixed one",
        )
    return int(counts[0])


BY_FLAGS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.__getitem__: chosen,
    torch.Tensor.masked_select: masked_select,
    torch.masked_select: masked_select,
    torch.Tensor.nonzero: nonzero,
    torch.nonzero: nonzero,
    torch.where: where,
}
