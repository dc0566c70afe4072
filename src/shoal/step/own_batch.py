"""The batch that a step is given: a copy where it writes to it, since the samples of later epochs lie there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.unfit import CannotStackError


class OwnBatch:
    """Gives steps of one kind their batches."""

    def __init__(self) -> None:
        self.copies: bool | None = None
        """Whether the steps write to their batches; known after the first one, which has a copy."""

    @contextmanager
    def given(self, batch: Any) -> Iterator[Any]:
        """Within the block a step has the batch.

        Raises:
            CannotStackError: where it writes to it, and those before it did not.
        """
        leaves, structure = pytree.tree_flatten(batch)
        if self.copies is not False:
            leaves = [each.clone() if isinstance(each, Tensor) else each for each in leaves]
        before = _versions(leaves)
        yield pytree.tree_unflatten(leaves, structure)
        writes = before != _versions(leaves)
        if self.copies is None:
            self.copies = writes
        elif writes and not self.copies:
            raise CannotStackError(
                "writes to its batch, which steps before it did not", "to a clone() of it each may write"
            )


def _versions(leaves: list[Any]) -> list[int]:
    """How often each tensor was written to, as torch counts it; by a view of it, too."""
    return [each._version for each in leaves if isinstance(each, Tensor)]
