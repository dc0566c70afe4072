"""Which operations of a program give a run other bits in its stack than alone: each is compared by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.blind import blind
from shoal.step.exact.calls import Call, Place, signature
from shoal.step.exact.grouped import EACH, WAYS, CannotGroupError, Grouped
from shoal.step.exact.rows import copied, same_bits


class CannotLocateError(Exception):
    """No operation can be told to be the one; the message says why, as the end of a sentence."""


class Locating:
    """Observes a stack's program: tries each operation on single runs as well, in the call that a stack of two makes.

    What it was given is the same either way, so that an operation is judged by itself. One that differs is computed in
    groups from there on, and kept in `found`.
    """

    def __init__(self, pairs: Sequence[Call], others: Sequence[Call], rows: Sequence[int], n: int) -> None:
        """`rows` are the runs, of `n`, to try.

        `pairs` are the calls of a stack of two, in their order, `others` those of a stack of another size than `n`:
        where the sizes of a tensor differ, there are its runs.
        """
        self.found: dict[Place, Grouped] = {}
        self._small = iter(zip(pairs, others, strict=False))
        self._rows = rows
        self._n = n

    def __call__(self, node: str | None, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        # Calls are matched by their place in the sequence alone: one more or one less would shift all that follow.
        small = next(self._small, None)
        if small is None or any(each.operation is not operation for each in small):
            raise CannotLocateError("a stack of another size is computed by other operations")
        # An operation that writes over what it is given has to be tried on copies made before it runs.
        writes = operation._schema.is_mutable
        given, named = pytree.tree_map_only(Tensor, copied, (args, kwargs)) if writes else (args, kwargs)
        result = blind(operation, *args, **kwargs)
        found = self._grouped(Call.of(operation, self._n, given, named, result), *small, result, given, named)
        if found is None:
            return result
        if writes:
            raise CannotLocateError(f"{found.call.name} does, and writes over what it is given")
        # A Python function has no nodes: there an operation is known again by what it is and is given.
        self.found[node or signature(operation, args, kwargs)] = found
        return found(*args, **kwargs)

    def _grouped(
        self, whole: Call, pair: Call, other: Call, result: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Grouped | None:
        """The operation in groups, if the stack gives one of the runs other bits."""
        try:
            ways = {way: Grouped(whole, pair, other, way) for way in WAYS}
        except CannotGroupError:  # of it the whole program will tell
            return None
        alone = ways[EACH]
        if all(self._same(alone, result, row, args, kwargs) for row in self._rows):
            return None
        # The faster way first; a kernel that gives other bits at each call cannot be mended by either.
        reference = alone(*args, **kwargs)
        for way in ways.values():
            if self._all_same(alone, way(*args, **kwargs), reference):
                return way
        raise CannotLocateError(f"{whole.name} gives other bits each time")

    def _same(self, alone: Grouped, result: Any, row: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a run has the bits in the stack's result that it has alone."""
        mine = alone.row(pytree.tree_leaves(result), row, n=self._n)
        theirs = alone.row(alone.of((row, row), args, kwargs), 0, n=2)
        return all(map(same_bits, mine, theirs))

    def _all_same(self, alone: Grouped, one: Any, other: Any) -> bool:
        """Whether two results for the stack are the same for every run."""
        results = [pytree.tree_leaves(each) for each in (one, other)]
        return all(map(same_bits, *(alone.row(each, 0, n=1) for each in results)))
