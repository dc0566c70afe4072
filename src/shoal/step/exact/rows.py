"""Tensors with a row for each run: taking one run out, replacing its numbers, comparing bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

SPREAD = 0.05
"""Up to which random numbers are added: zeros that hide a difference are none afterwards, and signs mostly stay."""

Function = Callable[..., Any]
"""Of tensors, which it may change; what it gives may be one, several or none."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one type have the same bits; what is not a number may be any."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    # To torch they are no floating-point numbers: only their parts are compared by bits below.
    if one.dtype.is_complex:
        one, other = torch.view_as_real(one), torch.view_as_real(other)
    if not one.is_floating_point():
        return torch.equal(one, other)
    bits = _INTEGERS[one.element_size()]
    # As integers: to floats 0 and -0 are equal, and nan is not equal to itself.
    mine, theirs = one.view(bits), other.view(bits)
    return torch.equal(mine, theirs) or bool(((mine == theirs) | (one.isnan() & other.isnan())).all())


def same_numbers(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one type hold equal numbers, to which 0 is -0; what is not a number is like itself."""
    return torch.equal(_without_nan(one), _without_nan(other)) and torch.equal(one.isnan(), other.isnan())


def _without_nan(value: Tensor) -> Tensor:
    # Left to itself `nan_to_num` makes of infinity the largest number there is, which another tensor may hold.
    return value.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)


def repeated(value: Tensor, row: int, n: int = 2) -> Tensor:
    """A run as it is alone: a stack of `n` of it, laid out as the stack it comes from."""
    return _as_laid_out(value[[row] * n], value.stride())


def copied(value: Tensor) -> Tensor:
    """A copy that lies in memory as the tensor does."""
    return _as_laid_out(value.clone(), value.stride())


def varied(values: Sequence[Tensor], number: int) -> list[Tensor]:
    """The tensors with something random added to every number of theirs; other numbers for every `number`."""
    generator = torch.Generator().manual_seed(number)
    return [_as_laid_out(_varied(value, generator), value.stride()) for value in values]


def _varied(value: Tensor, generator: torch.Generator) -> Tensor:
    # Classes and places have to stay within their range, or an operation that looks them up would fail.
    if not value.is_floating_point():
        return value
    more = (torch.rand(value.shape, generator=generator, dtype=torch.float32) * SPREAD).to(value.dtype)
    # Shares stay shares: the loss of flags refuses targets above one.
    return torch.where(value > 0.5, value - more, value + more) if _are_shares(value) else value + more


def _are_shares(value: Tensor) -> bool:
    return bool(((value >= 0) & (value <= 1)).all())


def made(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run a function on copies of these inputs: its results, and the copies as it leaves them."""
    return made_of(function, [copied(value) for value in inputs])


def made_of(function: Function, given: Sequence[Tensor]) -> list[Tensor]:
    """Run a function on inputs that are not needed afterwards."""
    return [*(value for value in pytree.tree_leaves(function(*given)) if isinstance(value, Tensor)), *given]


def _as_laid_out(value: Tensor, strides: Sequence[int]) -> Tensor:
    """The same for numbers in new memory of their own, which mostly has these strides already."""
    return value if value.stride() == strides else laid_out(value, strides)


def laid_out(value: Tensor, strides: Sequence[int]) -> Tensor:
    """The tensor's numbers in new memory, with these strides; a dimension of stride zero repeats its first."""
    kept = [size if stride else min(size, 1) for size, stride in zip(value.shape, strides, strict=True)]
    place = torch.empty_strided(kept, strides, dtype=value.dtype)
    place.copy_(value[tuple(slice(0, size) for size in kept)])
    return place.expand(value.shape)
