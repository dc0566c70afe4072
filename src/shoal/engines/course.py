"""What an optimizer's settings follow from while a run trains, and how a run goes on where that was changed.

What a scheduler's constructor sets is part of its state, and beats the configuration when that state is loaded. So the
optimizer and the scheduler are made twice, as they were set and as they are set now, and taken to the same time; only
what differs then is put into those that go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ChainedScheduler, ReduceLROnPlateau

from shoal.engines.job import Job
from shoal.errors import brief
from shoal.names import LR
from shoal.optimizers import Optimizer
from shoal.schedulers import Horizon, Schedule, Scheduler, scheduled


@dataclass(frozen=True, kw_only=True)
class Course:
    """What an optimizer's settings follow from while a run trains."""

    optimizer: Optimizer
    scheduler: Scheduler
    horizon: Horizon

    @classmethod
    def of(cls, job: Job, horizon: Horizon) -> Course:
        """That of a job which trains so long."""
        return cls(optimizer=job.optimizer, scheduler=job.scheduler, horizon=horizon)

    @property
    def monitor(self) -> str | None:
        """The metric that the scheduler watches."""
        return getattr(self.scheduler, "monitor", None)

    def at(self, time: int, params: Sequence[nn.Parameter]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Parameter groups and state of the scheduler, after `time` steps of a scheduler that watches no metric.

        Raises:
            ConfigError: where the optimizer has no learning rate to change.
        """
        optimizer = self.optimizer.alone(params)
        schedule = scheduled(optimizer, self.scheduler, self.horizon)["lr_scheduler"]["scheduler"]
        optimizer._opt_called = True  # type: ignore[attr-defined]  # or torch warns that it has taken no step
        # Their rate is a function of the time alone, so that a single step leads there.
        if isinstance(self.scheduler, Schedule) and time:
            schedule.last_epoch = time - 1
            schedule.step()
        elif not isinstance(schedule, ReduceLROnPlateau):
            for _ in range(time):
                schedule.step()
        groups = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
        return groups, dict(schedule.state_dict())


def take_over(optimizer: torch.optim.Optimizer, schedule: Any, before: Course, after: Course) -> None:
    """Let an optimizer and its scheduler, as they were under `before`, go on under `after`.

    A rate that a scheduler has lowered by what it watched keeps its ratio to the first one.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    watches = isinstance(schedule, ReduceLROnPlateau)
    time = 0 if watches else _time(schedule)
    (old_groups, old), (new_groups, new) = (course.at(time, params) for course in (before, after))
    for group, was, now in zip(optimizer.param_groups, old_groups, new_groups, strict=True):
        changes = _changes(was, now)
        if watches and "lr" in changes and group["lr"] != was["lr"]:
            changes["lr"] = group["lr"] * now["lr"] / was["lr"]
        group.update(changes)
    changes = _changes(old, new)
    # The best value so far is one of another metric, or best in the other direction.
    if watches and (before.monitor != after.monitor or "mode" in changes):
        changes |= {"best": new["best"], "num_bad_epochs": 0}
    schedule.load_state_dict({**schedule.state_dict(), **changes})


def _time(schedule: Any) -> int:
    """How many steps a scheduler has taken; several in a chain step together, and the chain counts none."""
    return int(schedule._schedulers[0].last_epoch if isinstance(schedule, ChainedScheduler) else schedule.last_epoch)


def unfit(before: Optimizer, after: Optimizer) -> str | None:
    """Why an optimizer cannot go on with the state of another one of its kind, or None; a step of each is tried."""
    # A matrix, since some optimizers take nothing else.
    one = nn.Parameter(torch.ones(2, 2))
    one.grad = torch.ones(2, 2)
    first = before.alone([one])
    if LR not in first.param_groups[0]:
        return f"{type(first).__name__} has no scheduler, by which others would be taken over"
    try:
        # With a closure, which those want that ask for the loss.
        first.step(lambda: 0.0)
    except Exception:  # it wants other parameters than these; then only its training tells
        return None
    second = after.alone([one])
    # Its own settings stay: whether they can do with this state is the question.
    second.load_state_dict({**second.state_dict(), "state": first.state_dict()["state"]})
    try:
        second.step(lambda: 0.0)
    except Exception as error:
        return brief(error)
    return None


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in `after` that differ from those before."""
    return {name: value for name, value in after.items() if name not in before or not _same(before[name], value)}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return bool(one == other)
