"""Where in its training a step stands, and what its draws follow from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from shoal.engines.step.drawn.keys import StepKeys
from shoal.engines.step.drawn.replacing import Drawing
from shoal.engines.step.looked import Looked


class Clock:
    """Where in its training a step stands; `read` says whether the step has looked.

    The engine itself looks at `now`, which does not count.
    """

    def __init__(self, epoch: int = 0, batch: int = 0, step: int = 0, *, keys: StepKeys | None = None) -> None:
        """`keys` are of what the runs draw; without them they draw from torch's generator, which is not mapped."""
        self.set(epoch, batch, step)
        self.keys = keys
        self.read = False
        self.watched = False
        """Whether the number of the batch notices that it is looked at."""
        self.drawn = False
        """Whether the step has drawn."""
        self._key: Tensor | None = None
        self._fresh = False

    def set(self, epoch: int, batch: int, step: int) -> None:
        """Move to an epoch, a batch of it and the number of optimizer steps done."""
        self.now = (epoch, batch, step)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        self.read = True
        return self.now[0]

    def batch_number(self) -> Any:
        """Batches done in this epoch, as the step is given it."""
        return Looked(self) if self.watched else self.now[1]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        self.read = True
        return self.now[2]

    def keys_of(self, *, trains: bool, needed: bool = True) -> tuple[Tensor, ...]:
        """The keys of all runs here, of shape (runs, 2), where there are some; others where they are not needed."""
        if self.keys is None:
            return ()
        epoch, batch, _ = self.now
        return (self.keys.at(epoch, batch, trains=trains) if needed else self.keys.none,)

    @contextmanager
    def of_run(self, *key: Tensor, fresh: bool = False) -> Iterator[None]:
        """Be the clock of a run with this key; `fresh` says to let each run write to tensors that its step makes."""
        before, self._key, self._fresh = self._key, key[0] if key else None, fresh
        try:
            yield
        finally:
            self._key = before

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let the step of a run draw from its key."""
        if self._key is None:
            yield
            return
        with Drawing(self._key, fresh=self._fresh) as mode:
            yield
        self.drawn |= mode.drawn
