"""Schedulers that are functions of the time: none, cosine, step, exponential, onecycle, warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from shoal.schedulers.scheduler import Horizon, Schedule
from shoal.schedulers.scheduler import Interval as Every

Share = Annotated[float, Interval(ge=0, le=1)]


def _cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine, at `share` of the way."""
    # Bounded: `LambdaLR` asks for one step more than there are, for which a cosine would rise again.
    return end + (start - end) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2


def _known(length: int | None) -> int:
    """A length of the run that a schedule which `ends` was not made without."""
    # For the types alone: `Schedule.alone` has refused it.
    assert length is not None
    return length


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The learning rate stays what the optimizer says."""

    @property
    def ends(self) -> bool:
        return False

    def factor(self, time: int, horizon: Horizon) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from the learning rate to `end` times it (Loshchilov & Hutter, 2017), over the whole run."""

    end: Share = 0.0
    """Learning rate at the end, as a share of the first."""

    def factor(self, time: int, horizon: Horizon) -> float:
        return _cosine(1.0, self.end, time / _known(horizon.epochs))


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Multiplied by `gamma` every `every` epochs."""

    every: Annotated[int, Ge(1)] = 30
    """Epochs between two changes."""
    gamma: Annotated[float, Gt(0)] = 0.1
    """Factor of each change."""

    @property
    def ends(self) -> bool:
        return False

    def factor(self, time: int, horizon: Horizon) -> float:
        # In closed form, not by multiplying step by step: a resumed run needs the time only, and has the same bits.
        return float(self.gamma ** (time // self.every))


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Multiplied by `gamma` after each epoch."""

    gamma: Annotated[float, Gt(0)] = 0.95
    """Factor of each epoch."""

    @property
    def ends(self) -> bool:
        return False

    def factor(self, time: int, horizon: Horizon) -> float:
        return float(self.gamma**time)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up from `start` to the learning rate, then down to `end`, in cosines, step by step (Smith & Topin, 2018)."""

    interval: ClassVar[Every] = "step"

    warm_up: Annotated[float, Interval(gt=0, lt=1)] = 0.3
    """Share of the steps spent going up."""
    start: Annotated[float, Interval(gt=0, le=1)] = 0.04
    """First learning rate, as a share of the highest."""
    end: Share = 4e-6
    """Last learning rate, as a share of the highest."""

    def factor(self, time: int, horizon: Horizon) -> float:
        n_steps = _known(horizon.steps)
        # As torch's OneCycleLR counts: the first step is number 0.
        top = self.warm_up * n_steps - 1
        if time < top:
            return _cosine(self.start, 1.0, time / top)
        return _cosine(1.0, self.end, (time - top) / (n_steps - 1 - top))


@dataclass(frozen=True, kw_only=True)
class WarmUp(Schedule):
    """From `start` up to the learning rate in equal steps, then constant or down a cosine."""

    interval: ClassVar[Every] = "step"

    steps: Annotated[int, Ge(1)] = 100
    """Optimizer steps until the learning rate is reached."""
    start: Annotated[float, Interval(gt=0, le=1)] = 0.01
    """First learning rate, as a share of the full one."""
    then: Literal["constant", "cosine"] = "constant"
    """What follows."""
    end: Share = 0.0
    """Learning rate at the end of the cosine, as a share of the full one."""

    @property
    def ends(self) -> bool:
        return self.then == "cosine"

    def factor(self, time: int, horizon: Horizon) -> float:
        if time < self.steps:
            return self.start + (1 - self.start) * time / self.steps
        if self.then == "constant":
            return 1.0
        # LambdaLR asks for the rate after the last step too, where a run as long as its warm-up has no cosine.
        return _cosine(1.0, self.end, (time - self.steps) / max(_known(horizon.steps) - self.steps, 1))
