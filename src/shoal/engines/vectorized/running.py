"""A stack of runs between two epochs: where each of them stands, and everything that can be asked of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Literal, NoReturn, Protocol, runtime_checkable

import torch
from torch import Tensor

from shoal.engines.course import Course
from shoal.engines.job import Job
from shoal.engines.length import horizon, n_batches
from shoal.engines.position import Position
from shoal.engines.resumed import Settings, signaled
from shoal.engines.stack.clipping import Limits
from shoal.engines.stack.halving import Halving
from shoal.engines.stack.stack import SMALLEST, Stack
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.steps import Steps
from shoal.errors import ConfigError, suggestion
from shoal.judging import better, judge
from shoal.schedulers import Horizon

_LIGHTNING = version("pytorch-lightning")
Ending = Literal["completed", "stopped", "halved", "diverged"]


@dataclass(frozen=True)
class Row:
    """What a run measured in an epoch."""

    run: int
    """Place of the run in the stack's members."""
    epoch: int
    """Epochs done before this one."""
    step: int
    """Optimizer steps done."""
    metrics: Mapping[str, float]
    best: bool
    """Whether the monitored metric was never better."""
    ended: Ending | None
    """How the run ended with this epoch, if it did."""
    reason: str | None = None
    """Why it was stopped, lost its place or diverged."""
    cut_short: bool = False
    """Whether `max_steps` ended the epoch."""
    norm: float | None = None
    """Of a run that diverged the largest norm of its gradient in the epoch's steps before."""
    monitor: str | None = None
    """The metric whose best state is kept, once that is known."""


@runtime_checkable
class Listener(Protocol):
    """What the layer above wants to know of a stack while it trains."""

    def epoch_ended(self, rows: Sequence[Row], running: Running) -> None:
        """The runs that trained in this epoch, in the order of the members."""

    def is_asked_to_stop(self) -> bool:
        """Whether to stop before the next optimizer step."""

    def stopped(self, running: Running) -> NoReturn:
        """The stack has stopped within an epoch, and can be saved as it stands; what this raises ends the training."""


@dataclass
class _Moment:
    """What a run's state at the end of an epoch has beside its row of the stack."""

    epoch: int
    early_stopping: dict[str, Any] | None
    rate: dict[str, Any] | None
    batch: int = 0
    """Batches done of an epoch that is under way."""
    sums: dict[str, list[Any]] = field(default_factory=dict)
    """Sum and number of samples of what its steps have logged."""


class Running:
    """The runs of a stack and their state; it can be saved and rebuilt."""

    def __init__(
        self, members: Sequence[Member], steps: Steps | None = None, *, halving: Halving | None = None
    ) -> None:
        """`steps` are those of another stack of the same kind, where there was one."""
        self.members = members
        settings = members[0].job.trainer
        rule = members[0].job.optimizer.stacked()
        assert rule is not None
        norms, values = zip(*(member.limits() for member in members), strict=True)
        self.stack = Stack.of(
            [member.module for member in members],
            rule,
            rule.columns([member.job.optimizer for member in members]),
            limits=Limits.of(norms, values),
        )
        self.accumulate = int(settings.get("accumulate_grad_batches") or 1)
        self.steps = steps or Steps(members[0], accumulate=self.accumulate)
        self.max_epochs, self.max_steps = settings.get("max_epochs"), settings.get("max_steps", -1)
        self.min_epochs = int(settings.get("min_epochs") or 0)
        self.horizon = self._horizon(settings)
        self.rates = [member.rate(self.horizon) for member in members]
        self.epoch = 0
        self.batch = 0
        """Batches done of the epoch that is under way: none, unless it was stopped or `max_steps` cuts it short."""
        self.sums: dict[int, dict[str, list[Any]]] = {}
        """What the steps of that epoch have logged, by run: sum and number of samples of each metric."""
        self.rows = list(range(len(members)))
        """The member in each row of the stack; rows beyond are copies of the last."""
        self.endings: dict[int, Ending] = {}
        self.best_values: dict[int, float] = {}
        self.halving = halving
        self.rungs = 0
        """Rungs of the halving that are behind the runs."""
        self.sizes: dict[int, None] = {}
        """Those that the stack has had."""
        self.unfit: set[int] = set()
        """Numbers of runs that cannot be a stack of their own."""
        self._kept = self.stack.select(range(len(self.stack)))
        self._best_moments: dict[int, _Moment] = {}
        self._last = self.stack.select(range(len(self.stack)))
        self._last_moments: dict[int, _Moment] = {}

    @property
    def unlogged(self) -> frozenset[str]:
        """Names of what the steps measure for callbacks only."""
        found = [each.entries.items() for each in self.steps.captured.values()]
        shown = {name for entries in found for name, entry in entries if entry.shown}
        return frozenset(name for entries in found for name, _ in entries if name not in shown)

    @property
    def filled(self) -> list[int]:
        """The member in every row, copies included."""
        return [*self.rows, *self.rows[-1:] * (len(self.stack) - len(self.rows))]

    @property
    def step(self) -> int:
        """Optimizer steps that the runs still training have done."""
        return max((self.stack.steps[row] for row in self.live.values()), default=0)

    def batches_left(self, n: int) -> int:
        """How many of an epoch's `n` batches are left to train on before `max_steps` is reached."""
        left = n - self.batch
        return left if self.max_steps in (-1, None) else min(left, (self.max_steps - self.step) * self.accumulate)

    @property
    def live(self) -> dict[int, int]:
        """The row of each run that has not ended."""
        return {run: row for row, run in enumerate(self.rows) if run not in self.endings}

    def end_epoch(self, metrics: Mapping[int, Mapping[str, float]], *, validated: bool | None) -> list[Row]:
        """Let each run's scheduler, early stopping and best state follow from what it measured.

        `validated` is None for an epoch that `max_steps` cut short: the state is kept that a longer training goes on
        from.

        Raises:
            ConfigError: where a monitored metric is missing although the runs were validated.
        """
        live = self.live
        partial = {run: self._moment(run) for run in live} if self.batch else {}
        self.batch, self.sums = 0, {}
        self.epoch += 1
        rows = self._halved([self._ended_epoch(live[run], run, values, validated) for run, values in metrics.items()])
        for row in rows:
            if row.best:
                self._kept.copy_row(row.run, self.stack, live[row.run])
                self._best_moments[row.run] = self._moment(row.run)
            if row.ended:
                self.endings[row.run] = row.ended
                self.stack.active[live[row.run]] = False
                self._last.copy_row(row.run, self.stack, live[row.run])
                self._last_moments[row.run] = partial.get(row.run) or self._moment(row.run)
        return rows

    def _ended_epoch(self, row: int, run: int, metrics: Mapping[str, float], validated: bool | None) -> Row:
        member, step = self.members[run], self.stack.steps[row]
        ended, reason = self._diverged(row, metrics)
        best = False
        if not ended and validated is not None:
            best = self._is_best(run, metrics, validated)
            ended, reason = self._stopped(member, metrics)
            self.rates[run].end_epoch(metrics, validated=validated)
        if not ended and (self.epoch == self.max_epochs or step == self.max_steps):
            ended = "completed"
        found = self.stack.diverged.get(row)
        norm = found.norm if found else None
        return Row(run, self.epoch - 1, step, metrics, best, ended, reason, validated is None, norm, member.monitor)

    def _halved(self, rows: list[Row]) -> list[Row]:
        """The rows, where a rung is reached with those ended that lose their place on it."""
        if self.halving is None or self.epoch < self.halving.rung(self.rungs):
            return rows
        left = [(row, self.members[row.run].monitor) for row in rows if not row.ended]
        values = {row.run: row.metrics[name] for row, name in left if name and name in row.metrics}
        if len(values) < len(left):
            return rows  # an epoch without validation: the next one with it decides
        while self.halving.rung(self.rungs) <= self.epoch:
            self.rungs += 1
        losers = self.halving.losers(values, self.members[0].mode)
        return [
            replace(row, ended="halved", reason=f"halving after epoch {self.epoch}: {losers[row.run]}")
            if row.run in losers
            else row
            for row in rows
        ]

    def _diverged(self, row: int, metrics: Mapping[str, float]) -> tuple[Ending | None, str | None]:
        found = self.stack.diverged.get(row)
        if found:
            return "diverged", str(found)
        bad = [name for name, value in metrics.items() if "loss" in name and not math.isfinite(value)]
        return ("diverged", f"{bad[0]} is {metrics[bad[0]]}") if bad else (None, None)

    def _stopped(self, member: Member, metrics: Mapping[str, float]) -> tuple[Ending | None, str | None]:
        stopping = member.early_stopping
        if stopping is None:
            return None, None
        if stopping.monitor in metrics:
            value = torch.tensor(metrics[stopping.monitor], dtype=torch.float64)
            stop, reason = stopping._evaluate_stopping_criteria(value)
            if stop:
                stopping.stopped_epoch, stopping.stopping_reason_message = self.epoch - 1, reason
        if self.epoch < self.min_epochs or not signaled({"": stopping}):
            return None, None
        return "stopped", stopping.stopping_reason_message

    def _is_best(self, run: int, metrics: Mapping[str, float], validated: bool) -> bool:
        member = self.members[run]
        if member.monitor == "auto" and validated:
            member.monitor = judge(metrics) or member.monitor
        if member.monitor is None or (member.monitor not in metrics and not validated):
            return False
        if member.monitor not in metrics:
            hint = suggestion(member.monitor, metrics, kind="logged are")
            raise ConfigError("callbacks.checkpoint.monitor", member.monitor, "is never logged", hint=hint)
        value = metrics[member.monitor]
        if not better(value, self.best_values.get(run), member.mode):
            return False
        self.best_values[run] = value
        return True

    def droppable(self) -> list[int] | None:
        """The rows of the runs that are left, once they are half of the stack or fewer; None before."""
        left = list(self.live.values())
        enough = left and (len(self.stack) <= SMALLEST or len(left) > len(self.stack) // 2)
        return None if enough else left

    def smaller(self, rows: Sequence[int]) -> Stack:
        """The stack of these of the rows; as it is where there are none."""
        return self.stack.select(rows, size=SMALLEST) if rows else self.stack

    def shrink(self, rows: Sequence[int], smaller: Stack) -> None:
        """Go on with these of the rows, which are the smaller stack's."""
        self.rows = [self.rows[row] for row in rows]
        self.stack = smaller

    @property
    def notes(self) -> list[str]:
        """What there is to say of how the runs got the bits that they have."""
        return [note for n in self.sizes for note in self.steps.guard.notes(n)]

    def checkpoint(self, run: int) -> dict[str, Any]:
        """The run's state as a checkpoint of Lightning, at the end of the last epoch it trained in."""
        if run in self._last_moments:
            return self._checkpoint(run, self._last, run, self._last_moments[run])
        return self._checkpoint(run, self.stack, self.rows.index(run), self._moment(run))

    def best_is_last(self, run: int) -> bool:
        """Whether the monitored metric was best at the end of the last epoch the run trained in."""
        return run in self._best_moments and self._kept.steps[run] == self.position(run).step

    def best_checkpoint(self, run: int) -> dict[str, Any] | None:
        """The run's state when the monitored metric was best."""
        moment = self._best_moments.get(run)
        return self._checkpoint(run, self._kept, run, moment) if moment else None

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """The run's weights when the monitored metric was best; its last ones where none is monitored."""
        if run in self._best_moments:
            weights = self._kept.weights(run)
        elif run in self._last_moments:
            weights = self._last.weights(run)
        else:
            weights = self.stack.weights(self.rows.index(run))
        return {name: weights[name] for name in self.members[run].module.state_dict()}

    def load_checkpoint(
        self,
        run: int,
        checkpoint: Mapping[str, Any],
        *,
        batch: int = 0,
        before: Job | None = None,
        over: bool = False,
    ) -> None:
        """Let a run that has not begun go on from a checkpoint, of this engine or of the Lightning engine.

        All runs of a stack have to be at the same place: `batch` batches of the checkpoint's epoch are done. `before`
        is the job that the checkpoint was saved by, where it was another one; `over` says that it is the end of a
        training.
        """
        row, member = self.rows.index(run), self.members[run]
        optimizer = checkpoint["optimizer_states"][0]
        self.stack.load_weights(row, checkpoint["state_dict"])
        self.stack.load_optimizer_state(row, optimizer["state"], steps=checkpoint["global_step"])
        for schedule in checkpoint["lr_schedulers"]:
            course = None if before is None else Course.of(before, self._horizon(before.trainer))
            self.rates[run].load_torch(schedule, optimizer["param_groups"][0], course)
        stopping = member.early_stopping
        if stopping and stopping.state_key in checkpoint["callbacks"]:
            settings = Settings(member.job.callbacks, before)
            stopping.load_state_dict(copy.deepcopy(checkpoint["callbacks"][stopping.state_key]))
            settings.restore(over=over and checkpoint["epoch"] >= self.min_epochs)
        self.epoch, self.batch = checkpoint["epoch"], batch
        self.sums[run] = {name: list(total) for name, total in checkpoint.get("sums", {}).items()}
        for filling in range(len(self.rows), len(self.stack)):
            self.stack.copy_row(filling, self.stack, len(self.rows) - 1)

    def _horizon(self, trainer: Mapping[str, Any]) -> Horizon:
        """How long a run will train under these settings of the Trainer if nothing stops it."""
        return horizon(trainer, n_batches(trainer, len(self.members[0].job.batches()[0])))

    def _moment(self, run: int) -> _Moment:
        stopping = self.members[run].early_stopping
        early_stopping = dict(stopping.state_dict()) if stopping else None
        rate = self.rates[run].state_dict()
        return _Moment(self.epoch, early_stopping, rate, self.batch, dict(self.sums.get(run, {})))

    def position(self, run: int) -> Position:
        """Where the run's state stands that `checkpoint` gives."""
        if run in self._last_moments:
            moment, step = self._last_moments[run], self._last.steps[run]
            return Position(moment.epoch, moment.batch, step)
        return Position(self.epoch, self.batch, self.stack.steps[self.rows.index(run)])

    def _checkpoint(self, run: int, stack: Stack, row: int, moment: _Moment) -> dict[str, Any]:
        member, step = self.members[run], stack.steps[row]
        params = [param for param in member.module.parameters() if param.requires_grad]
        groups, schedule = self.rates[run].torch_state(params, moment.epoch, step, moment.rate)
        weights = stack.weights(row)
        stopping = member.early_stopping
        checkpoint: dict[str, Any] = {
            "epoch": moment.epoch,
            "global_step": step,
            "pytorch-lightning_version": _LIGHTNING,
            "state_dict": {name: weights[name] for name in member.module.state_dict()},
            "loops": {},
            "callbacks": {stopping.state_key: moment.early_stopping} if stopping else {},
            "optimizer_states": [{"state": stack.optimizer_state(row), "param_groups": groups}],
            "lr_schedulers": [schedule],
        }
        member.module.on_save_checkpoint(checkpoint)
        if moment.sums:
            checkpoint["sums"] = dict(moment.sums)
        return checkpoint

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from after this epoch: tensors and plain values."""
        return {
            "epoch": self.epoch,
            "rows": list(self.rows),
            "endings": dict(self.endings),
            "best_values": dict(self.best_values),
            "rungs": self.rungs,
            "batch": self.batch,
            "sums": {run: dict(sums) for run, sums in self.sums.items()},
            "stack": self.stack.state_dict(),
            "kept": self._kept.state_dict(),
            "last": self._last.state_dict(),
            "best_moments": {run: _plain(moment) for run, moment in self._best_moments.items()},
            "last_moments": {run: _plain(moment) for run, moment in self._last_moments.items()},
            "moments": {run: _plain(self._moment(run)) for run in range(len(self.members))},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with the same members."""
        self.epoch, self.rows = saved["epoch"], list(saved["rows"])
        if self.rows:
            self.stack = self.stack.select(self.rows, size=len(saved["stack"]["params"]))
        self.stack.load_state_dict(saved["stack"])
        self._kept.load_state_dict(saved["kept"])
        self._last.load_state_dict(saved["last"])
        self.endings, self.best_values = dict(saved["endings"]), dict(saved["best_values"])
        self.rungs, self.batch = saved["rungs"], saved["batch"]
        self.sums = {run: dict(sums) for run, sums in saved["sums"].items()}
        self._best_moments = {run: _Moment(*moment) for run, moment in saved["best_moments"].items()}
        self._last_moments = {run: _Moment(*moment) for run, moment in saved["last_moments"].items()}
        for run, (_, early_stopping, rate, *_) in saved["moments"].items():
            stopping = self.members[run].early_stopping
            if stopping:
                stopping.load_state_dict(copy.deepcopy(early_stopping))
            if rate:
                self.rates[run].load_state_dict(rate)


def _plain(moment: _Moment) -> list[Any]:
    return list(vars(moment).values())
