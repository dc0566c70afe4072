"""An operation of a stack computed for a few runs at a time, in the very call that a stack of two makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.blind import blind
from shoal.step.exact.calls import Call, Form
from shoal.step.exact.rows import laid_out

Pair = tuple[int, int]
"""Two rows of a stack; twice the same row means that it is computed by itself."""


class CannotGroupError(Exception):
    """It cannot be told where in an operation's tensors the runs are."""


def neighbors(n: int) -> list[Pair]:
    """Two runs at a time; of an odd number the last by itself."""
    return [(row, min(row + 1, n - 1)) for row in range(0, n, 2)]


def each(n: int) -> list[Pair]:
    """Each run by itself."""
    # Twice the same: a stack of one would be computed by other kernels, with other rounding.
    return [(row, row) for row in range(n)]


EACH = "each run by itself"
WAYS: dict[str, Callable[[int], list[Pair]]] = {"two runs at a time": neighbors, EACH: each}
"""How the rows of a stack are taken together, the faster way first."""


class Grouped:
    """Stands for an operation of a stack of `n` runs, given what the operation is."""

    def __init__(self, whole: Call, pair: Call, other: Call, way: str) -> None:
        """`whole` is the call that the stack makes, `pair` that of a stack of two, `other` one of another size.

        Raises:
            CannotGroupError: where the runs are not one after the other in one dimension of each tensor.
        """
        # It becomes the target of a graph's node, and fx writes the graph's code with the name of each target.
        self.__name__ = f"{whole.name}_in_groups"
        self.way = way
        self.call = whole
        self._pair = pair
        self._pairs = WAYS[way](whole.n)
        self._given = _dimensions(whole, other, whole.given, other.given)
        self._results = _dimensions(whole, other, whole.results, other.results)
        # Without the runs in a result there is nothing to put together from groups.
        if not any(dim is not None for dim in self._results):
            raise CannotGroupError(f"{whole.name} gives all runs one result")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The operation's result."""
        results = [
            torch.empty_strided(form.shape, form.strides, dtype=form.dtype) if isinstance(form, Form) else form
            for form in self.call.results
        ]
        for pair in self._pairs:
            self._put(self.of(pair, args, kwargs), results, pair)
        return pytree.tree_unflatten(results, self.call.structure)

    def of(self, pair: Pair, args: Sequence[Any], kwargs: Any) -> list[Any]:
        """The results for two of the rows, one after the other."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        # Floats as they come, since a rate changes from step to step; whole numbers are sizes, here those of two.
        given = [
            _rows(leaf, dim, pair, form) if isinstance(form, Form) else leaf if isinstance(leaf, float) else form
            for leaf, dim, form in zip(leaves, self._given, self._pair.given, strict=True)
        ]
        args, kwargs = pytree.tree_unflatten(given, structure)
        return pytree.tree_leaves(blind(self.call.operation, *args, **kwargs))

    def row(self, results: Sequence[Any], row: int, *, n: int) -> list[Tensor]:
        """The results of one row, out of those of `n` rows."""
        found = []
        for value, dim in zip(results, self._results, strict=True):
            if dim is not None:
                size = value.shape[dim] // n
                found.append(value.narrow(dim, row * size, size))
        return found

    def _put(self, part: Sequence[Any], results: Sequence[Any], pair: Pair) -> None:
        # A row that was taken twice, to be a stack of two, is put down once.
        rows = dict.fromkeys(pair)
        for value, place, dim in zip(part, results, self._results, strict=True):
            if dim is not None:
                size = value.shape[dim] // 2
                place.narrow(dim, pair[0] * size, len(rows) * size).copy_(value.narrow(dim, 0, len(rows) * size))
            elif isinstance(value, Tensor):
                place.copy_(value)


def _dimensions(whole: Call, other: Call, ours: Sequence[Any], theirs: Sequence[Any]) -> list[int | None]:
    """For each value the dimension in which the runs are one after the other; None where there is none."""
    if len(ours) != len(theirs):
        raise CannotGroupError("a stack of another size is given other arguments")
    pairs = zip(ours, theirs, strict=True)
    return [_dimension(mine, other.n, its, whole.n) if isinstance(mine, Form) else None for mine, its in pairs]


def _dimension(mine: Form, n_other: int, its: Any, n: int) -> int | None:
    # Shapes are the only trace that the runs leave in a call; where they tell two stories, no guess is made.
    if not isinstance(its, Form) or len(mine.shape) != len(its.shape):
        raise CannotGroupError("a stack of another size has other tensors")
    differing = [dim for dim, sizes in enumerate(zip(mine.shape, its.shape, strict=True)) if len(set(sizes)) > 1]
    if not differing:
        return None
    [dim, *more] = differing
    if more or mine.shape[dim] * n_other != its.shape[dim] * n:
        raise CannotGroupError("the runs are not in one dimension")
    return dim


def _rows(value: Tensor, dim: int | None, pair: Pair, form: Form) -> Tensor:
    """Two rows, laid out as they are in a stack of two."""
    if dim is None:
        return value
    size = form.shape[dim] // 2
    first, second = pair
    # Neighbors are a view, which costs nothing; any other two have to be copied together.
    if second == first + 1:
        found = value.narrow(dim, first * size, 2 * size)
    else:
        found = torch.cat([value.narrow(dim, row * size, size) for row in pair], dim)
    # Kernels are chosen by strides, too: laid out otherwise, the call would not be the one that a stack of two makes.
    strides = zip(found.stride(), form.strides, form.shape, strict=True)
    return found if all(a == b or n == 1 for a, b, n in strides) else laid_out(found, form.strides)
