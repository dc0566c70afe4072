"""Random numbers that runs' own generators give: drawn before a step, in the order in which it asks for them.

So a stack's runs have the very numbers that each would have drawn from torch's generator alone. What a step asks for is
noted once, when it is called for one run; afterwards each run's generator is asked the same before each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from shoal.seeding import continue_torch, torch_state
from shoal.step.clock import Clock
from shoal.step.drawn.numbers import NotDrawnError, RandomNumbers
from shoal.step.unfit import CannotStackError


@dataclass(frozen=True)
class Draw:
    """What a step asks a generator for."""

    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    limits: tuple[float, ...] = ()
    """A probability; or the least whole number, and the one after the largest."""

    def fill(self, target: Tensor, generator: torch.Generator) -> None:
        """Draw it: by the kernel by which torch draws it for a single run."""
        if self.kind == "order":
            torch.randperm(len(target), generator=generator, out=target)
            return
        by: Any = getattr(target, _METHODS[self.kind])
        by(*self.limits, generator=generator)


_METHODS = {
    "uniform": "uniform_",
    "normal": "normal_",
    "exponential": "exponential_",
    "happens": "bernoulli_",
    "whole": "random_",
}


class _Asking(RandomNumbers):
    """Says of each number what is asked for."""

    def asked(self, draw: Draw) -> Tensor:
        """The numbers that are asked for."""
        raise NotImplementedError

    def uniform(self, shape: list[int], dtype: torch.dtype) -> Tensor:
        return self.asked(Draw("uniform", tuple(shape), dtype))

    def normal(self, shape: list[int], dtype: torch.dtype) -> Tensor:
        return self.asked(Draw("normal", tuple(shape), dtype))

    def exponential(self, shape: list[int], dtype: torch.dtype) -> Tensor:
        return self.asked(Draw("exponential", tuple(shape), dtype))

    def happens(self, probability: float, shape: list[int]) -> Tensor:
        return self.asked(Draw("happens", tuple(shape), torch.bool, (probability,)))

    def whole(self, low: int, high: int, shape: list[int]) -> Tensor:
        return self.asked(Draw("whole", tuple(shape), torch.int64, (low, high)))

    def order(self, n: int) -> Tensor:
        return self.asked(Draw("order", (n,), torch.int64))

    def inner(self, shape: list[int], dtype: torch.dtype) -> Tensor:
        raise NotDrawnError  # no kernel of torch's draws such numbers


@final
class NotedDraws(_Asking):
    """Notes what a step asks for; the numbers are nobody's."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []
        self._generator = torch.Generator()

    @property
    def own(self) -> Tensor:
        return torch.zeros(())

    def asked(self, draw: Draw) -> Tensor:
        self.draws.append(draw)
        found = torch.empty(draw.shape, dtype=draw.dtype)
        draw.fill(found, self._generator)
        return found


@final
class DrawnAhead(_Asking):
    """Gives what was drawn ahead."""

    def __init__(self, draws: Sequence[Draw], parts: Sequence[Tensor]) -> None:
        """`parts` are the numbers of each draw, and behind them one of the run's own."""
        self._draws = draws
        *self._parts, self._own = parts
        self._n = 0

    @property
    def own(self) -> Tensor:
        return self._own[0]

    def asked(self, draw: Draw) -> Tensor:
        # Nothing was noted, as for validation: left to torch, whose mapping refuses to draw.
        if not self._draws:
            raise NotDrawnError
        if self._n == len(self._draws) or self._draws[self._n] != draw:
            raise CannotStackError(*_OTHERWISE)
        self._n += 1
        return self._parts[self._n - 1]

    def finish(self) -> None:
        """Nothing more is asked for.

        Raises:
            CannotStackError: where something is left.
        """
        if self._n < len(self._draws):
            raise CannotStackError(*_OTHERWISE)


_OTHERWISE = (
    "draws other random numbers in some steps than in others",
    "drawn in every step, and chosen by torch.where, they stack",
)


class Ahead:
    """What the generators of a stack's runs give its steps, batch after batch."""

    def __init__(
        self,
        draws: Callable[[int], Sequence[Draw]],
        states: Mapping[int, Tensor],
        rows: int,
        *,
        first: int = 0,
        keeps: bool = False,
    ) -> None:
        """`draws` says what the step of a batch asks for; `states` are those of torch's generator, by row.

        The other ones of the `rows` have the numbers of the first. `first` is the batch before which the generators
        stand; `keeps` says to keep where they stood before each batch.
        """
        self.draws = draws
        self._generators = {row: torch.Generator().set_state(state) for row, state in states.items()}
        self._rows = rows
        self._next = first
        self._parts: tuple[Tensor, ...] = ()
        self._keeps = keeps
        self._before: dict[int, Tensor] = {}

    def at(self, batch: int) -> tuple[Tensor, ...]:
        """The numbers for a batch, which is the last one that was asked for or the next."""
        while self._next <= batch:
            # Only on demand: the state of a generator is 5 kB, for each run and batch.
            if self._keeps:
                self._before = self.states()
            self._parts = tuple(self._drawn(draw) for draw in self.draws(self._next))
            self._next += 1
        # The last is `own`, which a step may need where it draws nothing.
        return (*self._parts, torch.zeros(self._rows, 1))

    def states(self) -> dict[int, Tensor]:
        """Where the generators are, by row."""
        return {row: each.get_state() for row, each in self._generators.items()}

    def enter(self, row: int) -> None:
        """Let torch's own generator be where this row's was before the batch."""
        continue_torch(self._before[row])

    def agrees(self, row: int) -> bool:
        """Whether torch's own generator is where this row's is after the batch."""
        return torch.equal(torch_state(), self._generators[row].get_state())

    def _drawn(self, draw: Draw) -> Tensor:
        found = torch.empty(self._rows, *draw.shape, dtype=draw.dtype)
        for row, each in self._generators.items():
            draw.fill(found[row], each)
        first = found[next(iter(self._generators))]
        for row in range(self._rows):
            if row not in self._generators:
                found[row] = first
        return found


class AheadClock(Clock):
    """A clock by which runs draw what their own generators give in training; in validation they draw nothing."""

    def __init__(self, ahead: Ahead, epoch: int = 0, batch: int = 0, step: int = 0) -> None:
        super().__init__(epoch, batch, step)
        self.ahead = ahead

    def keys_of(self, *, trains: bool, needed: bool = True) -> tuple[Tensor, ...]:
        # Needed or not, the generators have to move on as they do in a run alone.
        del needed
        return self.ahead.at(self.now[1])[0 if trains else -1 :]

    @contextmanager
    def alone(self, row: int, *, trains: bool) -> Iterator[None]:
        self.keys_of(trains=trains)
        # Without a key: outside of the stack a run draws from torch's own generator, which `enter` sets.
        with self.of_run():
            yield

    def enter(self, row: int) -> None:
        self.ahead.enter(row)

    def agrees(self, row: int) -> bool:
        return self.ahead.agrees(row)

    def numbers(self, key: tuple[Tensor, ...]) -> DrawnAhead | None:
        if not key:
            return None
        return DrawnAhead(self.ahead.draws(self.now[1]) if len(key) > 1 else (), key)


class NotingClock(Clock):
    """A clock by which what a step draws is noted."""

    def __init__(self, epoch: int = 0, batch: int = 0, step: int = 0) -> None:
        super().__init__(epoch, batch, step)
        self.noted = NotedDraws()

    def numbers(self, key: tuple[Tensor, ...]) -> NotedDraws:
        return self.noted
