"""What the steps of jobs in a stack draw at random: the numbers that their own generators would have given them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.dropin.untouched import Untouched
from shoal.dropin.waiting import Waiting
from shoal.engines.vectorized.probing.own_step import by_itself
from shoal.seeding import generators_restored
from shoal.step.drawn.ahead import Ahead, Draw, NotingClock
from shoal.step.metered import MeteredStep


class StepDraws:
    """What a step asks for, by the samples of its batch."""

    def __init__(self, step: MeteredStep, names: Sequence[str]) -> None:
        """`names` are those of the parameters that are trained."""
        self._step = step
        self._names = names
        self._known: dict[int, list[Draw]] = {}

    @property
    def draws(self) -> bool:
        """Whether any step draws, as far as is known."""
        return any(self._known.values())

    def ahead(self, jobs: Mapping[int, Waiting], rows: int, *, first: int = 0, keeps: bool = False) -> Ahead:
        """What the jobs in these of so many rows have drawn for their epoch, from its batch `first` on."""
        job = next(iter(jobs.values()))
        sizes = job.train.sizes

        def draws(number: int) -> list[Draw]:
            # What a step draws depends on the shape of its batch, and is noted once for each.
            if sizes[number] not in self._known:
                self._known[sizes[number]] = self._noted(job, number)
            return self._known[sizes[number]]

        states = {row: job.randomness for row, job in jobs.items()}
        return Ahead(draws, states, rows, first=first, keeps=keeps)

    def _noted(self, job: Waiting, number: int) -> list[Draw]:
        """What the step of a batch draws; nothing where it fails, which the probe will tell."""
        module, clock = job.fit.module, NotingClock(job.epoch, number, job.step)
        batch: Any = job.batch(job.train, number, job.fit.own.weights[0].dtype)
        try:
            with Untouched([module]), generators_restored():
                by_itself(self._step.like(module), batch, clock, self._names)
        except Exception:  # whatever a step of anybody's does
            return []
        return clock.noted.draws
