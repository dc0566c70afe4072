"""The learning rate of every run of a stack: schedules evaluated, other schedulers stepped as torch steps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from shoal.engines.course import Course, take_over
from shoal.engines.stack.run_optimizer import RunOptimizer
from shoal.errors import ConfigError, suggestion
from shoal.optimizers import Optimizer
from shoal.optimizers.rule import Column
from shoal.schedulers import Constant, Horizon, Schedule, Scheduler


class Rate:
    """The learning rate of one run.

    A schedule is a function of the time and is evaluated; any other scheduler is a torch object that acts on an
    optimizer of its own, over one parameter that is never updated.
    """

    def __init__(self, optimizer: Optimizer, scheduler: Scheduler, horizon: Horizon) -> None:
        self.base = float(optimizer.in_stack.lr)  # type: ignore[attr-defined]
        self.scheduler = scheduler
        self.horizon = horizon
        self._optimizer = optimizer
        self._torch: torch.optim.Optimizer | None = None
        self._described: dict[str, Any] = {}
        if not isinstance(scheduler, Schedule):
            self._torch = optimizer.alone([nn.Parameter(torch.zeros(1))])
            self._described = scheduler.alone(self._torch, horizon)
            self._torch._opt_called = True  # type: ignore[attr-defined]  # the stack takes its steps

    @property
    def by_step(self) -> bool:
        """Whether it may change at every optimizer step."""
        return isinstance(self.scheduler, Schedule) and self.scheduler.interval == "step"

    def at(self, epoch: int, step: int) -> float:
        """The learning rate after so many epochs and optimizer steps."""
        if isinstance(self.scheduler, Schedule):
            return self.base * self.scheduler.factor(step if self.by_step else epoch, self.horizon)
        assert self._torch is not None
        return float(self._torch.param_groups[0]["lr"])

    def end_steps(self) -> None:
        """Tell a scheduler that is no schedule, and watches no metric, that the last step of an epoch is taken."""
        if self._torch is not None and not self._watches:
            self._described["scheduler"].step()

    def end_epoch(self, metrics: Mapping[str, float], *, validated: bool) -> None:
        """Tell a scheduler that watches a metric that an epoch is over; of the validation, one that had one.

        Raises:
            ConfigError: where it watches a metric that was not logged.
        """
        if not self._watches:
            return
        name = self._described["monitor"]
        if name in metrics:
            self._described["scheduler"].step(metrics[name])
        elif validated or not name.startswith("val"):
            hint = suggestion(name, metrics, kind="logged are")
            raise ConfigError("scheduler.monitor", name, "was not logged", hint=hint)

    @property
    def _watches(self) -> bool:
        return isinstance(self._described.get("scheduler"), ReduceLROnPlateau)

    def state_dict(self) -> dict[str, Any] | None:
        """State of a scheduler that is no schedule, and the learning rate it has come to; None for a schedule."""
        if self._torch is None:
            return None
        state = dict(self._described["scheduler"].state_dict())
        return {"scheduler": state, "lr": self._torch.param_groups[0]["lr"]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        if self._torch is not None:
            self._described["scheduler"].load_state_dict(dict(saved["scheduler"]))
            # Some schedulers go on from the rate that the optimizer has, which is no part of their state.
            self._torch.param_groups[0]["lr"] = saved["lr"]

    def load_torch(self, state: Mapping[str, Any], group: Mapping[str, Any], before: Course | None) -> None:
        """Go on from the torch scheduler's own state dict and the optimizer's parameter group; a schedule needs none.

        `before` is what they followed until then, where that was something else.
        """
        if self._torch is None:
            return
        self.load_state_dict({"scheduler": state, "lr": group["lr"]})
        if before is not None:
            now = Course(optimizer=self._optimizer, scheduler=self.scheduler, horizon=self.horizon)
            take_over(self._torch, self._described["scheduler"], before, now)

    def torch_state(
        self, params: Sequence[nn.Parameter], epoch: int, step: int, saved: Mapping[str, Any] | None
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        """Parameter groups of the run's torch optimizer, and the state dict of its scheduler in a list.

        At the time given for a schedule, otherwise where `saved` was taken.
        """
        optimizer = self._optimizer.alone(params)
        schedule = self.scheduler.alone(optimizer, self.horizon)["scheduler"]
        if saved is None:
            # A scheduler of torch's steps once when it is made: its count is one ahead of its time.
            time, lr = step if self.by_step else epoch, self.at(epoch, step)
            state = schedule.state_dict() | {"last_epoch": time, "_step_count": time + 1, "_last_lr": [lr]}
        else:
            state, lr = dict(saved["scheduler"]), saved["lr"]
        groups: list[Any] = optimizer.state_dict()["param_groups"]
        groups[0]["lr"] = lr
        return groups, [state]


def beyond_rate(optimizer: Optimizer, scheduler: Scheduler) -> list[str]:
    """What of the optimizer's settings a scheduler changes beside the learning rate, which a stack does not follow."""
    params = [nn.Parameter(torch.zeros(1))]
    [plain] = optimizer.alone(params).param_groups
    course = Course(optimizer=optimizer, scheduler=scheduler, horizon=Horizon(None, None))
    # At the beginning and a step later: cycled momenta are set from the first on.
    found = [group for time in (0, 1) for group in course.at(time, params)[0]]
    own = [name for name in plain if name not in ("params", "lr", "initial_lr")]
    return [name for name in own if any(group[name] != plain[name] for group in found)]


def columns(rates: Sequence[Rate | RunOptimizer], rows: int, *, epoch: int, step: int, n_steps: int) -> list[Column]:
    """The learning rates of the epoch's steps, one column for each; a single one where they stay.

    Rows beyond the runs repeat the last run's.
    """
    changing = any(rate.by_step for rate in rates)
    known: dict[Any, float] = {}
    result = []
    for number in range(n_steps if changing else 1):
        values = [_remembered(known, rate, epoch, step + number) for rate in rates]
        values += values[-1:] * (rows - len(values))
        result.append(torch.tensor(values, dtype=torch.float64)[:, None])
    return result


def _remembered(known: dict[Any, float], rate: Rate | RunOptimizer, epoch: int, step: int) -> float:
    """`rate.at`, computed once for runs whose schedules agree."""
    # These have a state of their own; only what is a function of the time may be shared.
    if isinstance(rate, RunOptimizer) or not isinstance(rate.scheduler, Schedule):
        return rate.at(epoch, step)
    if isinstance(rate.scheduler, Constant):
        return rate.base
    key = rate.scheduler, rate.base, rate.horizon, epoch, step
    if key not in known:
        known[key] = rate.at(epoch, step)
    return known[key]
