"""Operations of torch's that compute otherwise for a while: as a processor might, or as it must not."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LAST_BITS = 1 + 2**-20


@contextmanager
def broken(operation: str, kernel: Callable[..., Any]) -> Iterator[None]:
    """Have torch compute an operation by another kernel."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once")
        library.impl(operation, kernel, "CPU")
    try:
        yield
    finally:
        library._destroy()


def product(left: Tensor, right: Tensor) -> Tensor:
    """The product of matrices, for which no two runs are taken together."""
    return (left.unsqueeze(-1) * right.unsqueeze(1)).sum(2)


def by_size(left: Tensor, right: Tensor) -> Tensor:
    """Products whose last bits depend on how many there are."""
    return product(left, right) * LAST_BITS if len(left) > 2 else product(left, right)


def by_place(left: Tensor, right: Tensor) -> Tensor:
    """Products whose last bits depend on which of them it is."""
    places = torch.arange(len(left))[:, None, None]
    return product(left, right) * torch.where(places % 2 == 0, 1.0, LAST_BITS)


_calls = itertools.count()


def by_time(left: Tensor, right: Tensor) -> Tensor:
    """Products whose last bits are others each time."""
    return product(left, right) * (1 + 2**-20 * (next(_calls) % 7))


def relu_by_size(x: Tensor) -> Tensor:
    """What `relu_` writes, with last bits that depend on how many runs there are."""
    return x.mul_(torch.where(x > 0, LAST_BITS if len(x) > 2 else 1.0, 0.0))


def relu_of_four(x: Tensor) -> Tensor:
    """What `relu_` writes, with other last bits for four runs."""
    return x.mul_(torch.where(x > 0, LAST_BITS if len(x) == 4 else 1.0, 0.0))


def root_by_size(x: Tensor) -> Tensor:
    """A square root whose last bits depend on how many runs there are."""
    return x**0.5 * (LAST_BITS if len(x) > 2 else 1.0)


def norm_by_size(x: Tensor, order: Any = 2, dims: Any = None, keep: bool = False, *, dtype: Any = None) -> Tensor:
    """A Euclidean norm whose last bits depend on how many runs there are."""
    return x.square().sum(dims, keepdim=keep).sqrt() * (LAST_BITS if len(x) > 2 else 1.0)
