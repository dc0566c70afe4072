"""What every scheduler's settings offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

Interval = Literal["epoch", "step"]


@dataclass(frozen=True)
class Horizon:
    """How long a run will train if nothing stops it."""

    epochs: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Scheduler(ABC):
    """The settings of a scheduler."""

    @abstractmethod
    def alone(self, optimizer: torch.optim.Optimizer, horizon: Horizon) -> dict[str, Any]:
        """Lightning's description of the scheduler for one run's optimizer."""


@dataclass(frozen=True, kw_only=True)
class Schedule(Scheduler):
    """A scheduler whose learning rate is a function of the time alone."""

    interval: ClassVar[Interval] = "epoch"

    @abstractmethod
    def factor(self, time: int, horizon: Horizon) -> float:
        """The learning rate at `time` (epochs or steps done, by `interval`) over the optimizer's own."""

    def alone(self, optimizer: torch.optim.Optimizer, horizon: Horizon) -> dict[str, Any]:
        schedule = LambdaLR(optimizer, partial(self.factor, horizon=horizon))
        return {"scheduler": schedule, "interval": self.interval}
