"""Where in its training a step stands, and what its draws follow from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, TypeVar

from torch import Tensor

from shoal.step.drawn.keys import StepKeys
from shoal.step.drawn.numbers import Draws, RandomNumbers
from shoal.step.drawn.replacing import Drawing
from shoal.step.timed import Timed, TimeUse

T = TypeVar("T")
APART = 1 << 32
"""Batches that lie between two data loaders for validation, for what is drawn."""


class Clock:
    """Where in its training a step stands; `read` says whether the step has looked.

    The engine itself looks at `now`, which does not count.
    """

    def __init__(self, epoch: int = 0, batch: int = 0, step: int = 0, *, keys: StepKeys | None = None) -> None:
        """`keys` are of what the runs draw; without them they draw from torch's generator, which is not mapped."""
        self.set(epoch, batch, step)
        self.keys = keys
        self.loader: int | None = None
        """Which of several data loaders for validation it is at; their batches are counted anew for each."""
        self.read = False
        self.time_use: TimeUse | None = None
        """What a trace makes of the time, while it is made."""
        self.drawn = False
        """Whether the step has drawn."""
        self.within = 0
        """Optimizer steps that it has taken by hand so far."""
        self._key: tuple[Tensor, ...] = ()
        self._fresh = False

    def set(self, epoch: int, batch: int, step: int) -> None:
        """Move to an epoch, a batch of it and the number of optimizer steps done."""
        self.now = (epoch, batch, step)

    @contextmanager
    def moved_on(self, n: int) -> Iterator[None]:
        """Be as many epochs and steps later."""
        epoch, batch, step = before = self.now
        self.set(epoch + n, batch, step + n)
        try:
            yield
        finally:
            self.now = before

    @property
    def epoch(self) -> Any:
        """Epochs done."""
        self.read = True
        return self._number(0)

    def batch_number(self) -> Any:
        """Batches done in this epoch, as the step is given it."""
        return self._number(1)

    @property
    def step(self) -> Any:
        """Optimizer steps done."""
        self.read = True
        return self._number(2) + self.within if self.within else self._number(2)

    def _number(self, place: int) -> Any:
        return self.now[place] if self.time_use is None else Timed(self.time_use, itemgetter(place))

    def keys_of(self, *, trains: bool, needed: bool = True) -> tuple[Tensor, ...]:
        """The keys of all runs here, of shape (runs, 2), where there are some; others where they are not needed."""
        if self.keys is None:
            return ()
        epoch, batch, _ = self.now
        batch += APART * (self.loader or 0)
        return (self.keys.at(epoch, batch, trains=trains) if needed else self.keys.none,)

    def in_turn(self, loaders: Sequence[T]) -> Iterator[T]:
        """What there is of each data loader, the clock being at it where there are several."""
        for number, each in enumerate(loaders):
            # A single loader has no number: Lightning gives none to its step and puts none into the names.
            self.loader = number if len(loaders) > 1 else None
            yield each
        self.loader = None

    @contextmanager
    def of_run(self, *key: Tensor, fresh: bool = False) -> Iterator[None]:
        """Be the clock of a run with this key; `fresh` says to let each run write to tensors that its step makes."""
        before, self._key, self._fresh = self._key, key, fresh
        try:
            yield
        finally:
            self._key = before

    @contextmanager
    def alone(self, row: int, *, trains: bool) -> Iterator[None]:
        """Be the clock of the run in this row, outside of the stack."""
        with self.of_run(*(keys[row] for keys in self.keys_of(trains=trains))):
            yield

    def enter(self, row: int) -> None:
        """Let torch's generator be where it is for this row before the batch, where the run draws from that."""

    def agrees(self, row: int) -> bool:
        """Whether it is then where it has to be after the batch."""
        del row
        return True

    def numbers(self, key: tuple[Tensor, ...]) -> RandomNumbers | None:
        """What the step of a run with this key draws; None is torch's generator's."""
        return Draws(*key) if key else None

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let the step of a run draw its own numbers."""
        numbers = self.numbers(self._key)
        if numbers is None:
            yield
            return
        mode = Drawing(numbers, fresh=self._fresh)
        try:
            with mode:
                yield
        finally:
            self.drawn |= mode.drawn
        # Not in the `finally`: of a step that fails numbers are left over, and its own error would be lost.
        numbers.finish()
