"""What every scheduler's settings offer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

from shoal.errors import ConfigError
from shoal.judging import AUTO
from shoal.names import VAL_LOSS

Interval = Literal["epoch", "step"]


@dataclass(frozen=True)
class Horizon:
    """How long a run will train if nothing stops it; None where nothing says."""

    epochs: int | None
    steps: int | None

    @classmethod
    def of(cls, *, max_epochs: int | None, max_steps: int | None, steps_per_epoch: int | None) -> Horizon:
        """What the limits of a Trainer (-1 or None for none) leave; an epoch that `max_steps` cuts short counts."""
        epochs = max_epochs if max_epochs and max_epochs > 0 else None
        steps = max_steps if max_steps and max_steps > 0 else None
        # Data of unknown length, as of an iterable: neither limit can be put into the other's unit.
        if not steps_per_epoch:
            return cls(epochs, steps)
        limits = [limit for limit in (epochs and epochs * steps_per_epoch, steps) if limit]
        return cls(math.ceil(min(limits) / steps_per_epoch), min(limits)) if limits else cls(None, None)


def named(monitor: str) -> str:
    """The metric that is watched by this name; `auto` where nobody has said before the training what it finds."""
    return VAL_LOSS if monitor == AUTO else monitor


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

    @property
    def ends(self) -> bool:
        """Whether its shape follows from how long the run is."""
        return True

    @abstractmethod
    def factor(self, time: int, horizon: Horizon) -> float:
        """The learning rate at `time` (epochs or steps done, by `interval`) over the optimizer's own."""

    def alone(self, optimizer: torch.optim.Optimizer, horizon: Horizon) -> dict[str, Any]:
        """Lightning's description of the scheduler for one run's optimizer.

        Raises:
            ConfigError: where nothing says how long the run is, and it has to know.
        """
        if self.ends and (horizon.epochs if self.interval == "epoch" else horizon.steps) is None:
            name = type(self).__name__
            problem = f"goes down to the end of a run, and nothing says how many {self.interval}s this one has"
            raise ConfigError("scheduler", name, problem, hint="set trainer.max_epochs or trainer.max_steps")
        schedule = LambdaLR(optimizer, partial(self.factor, horizon=horizon))
        return {"scheduler": schedule, "interval": self.interval}
