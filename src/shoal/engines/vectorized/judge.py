"""What becomes of each run of a stack at the end of an epoch: whether it is at its best, and whether it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pytorch_lightning import callbacks

from shoal.engines.early_stopping import EarlyStopping
from shoal.engines.resumed import signaled
from shoal.engines.stack.halving import Halving
from shoal.engines.stack.stack import Divergence
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.run_epoch import Ending, RunEpoch
from shoal.errors import ConfigError, suggestion
from shoal.judging import AUTO, better, is_loss, judge
from shoal.names import HALVED


class Judge:
    """Judges runs that train together by the settings that they have in common."""

    def __init__(self, members: Sequence[Member], halving: Halving | None) -> None:
        settings = members[0].job.trainer
        self.members = members
        self.halving = halving
        self.max_epochs, self.max_steps = settings.get("max_epochs"), settings.get("max_steps", -1)
        self.min_epochs = int(settings.get("min_epochs") or 0)
        self.best_values: dict[int, float] = {}
        self.rungs = 0
        """Rungs of the halving that are behind the runs."""

    def ended_epoch(
        self,
        run: int,
        metrics: Mapping[str, float],
        *,
        n_epochs: int,
        step: int,
        divergence: Divergence | None,
        validated: bool | None,
    ) -> RunEpoch:
        """The epoch of a run that has now done `n_epochs`; `validated` is None where `max_steps` cut it short.

        Raises:
            ConfigError: where a monitored metric is missing although the run was validated.
        """
        member = self.members[run]
        ended, reason = _diverged(divergence, metrics)
        best = False
        if not ended and validated is not None:
            best = self._is_best(run, metrics, validated)
            ended, reason = self._stopped(member, metrics, n_epochs, validated)
        if not ended and (n_epochs == self.max_epochs or step == self.max_steps):
            ended = "completed"
        norm = divergence.norm if divergence else None
        return RunEpoch(run, n_epochs - 1, step, metrics, best, ended, reason, validated is None, norm, member.monitor)

    def halved(self, epochs: list[RunEpoch], n_epochs: int) -> list[RunEpoch]:
        """The epochs; where a rung is reached, they are the last ones of the runs that lose their place on it."""
        if self.halving is None or n_epochs < self.halving.rung(self.rungs):
            return epochs
        left = [(each, self.members[each.run].monitor) for each in epochs if not each.ended]
        values = {each.run: each.metrics[name] for each, name in left if name and name in each.metrics}
        if len(values) < len(left):
            return epochs  # an epoch without validation: the next one with it decides
        # After epochs without a validation several rungs may have been passed.
        while self.halving.rung(self.rungs) <= n_epochs:
            self.rungs += 1
        losers = self.halving.losers(values, self.members[0].way)
        return [
            replace(each, ended="halved", reason=f"{HALVED} {n_epochs}: {losers[each.run]}")
            if each.run in losers
            else each
            for each in epochs
        ]

    def _stopped(
        self, member: Member, metrics: Mapping[str, float], n_epochs: int, validated: bool
    ) -> tuple[Ending | None, str | None]:
        """Whether early stopping ends a run, and its reason; before `min_epochs` its signal only waits."""
        stopping = member.early_stopping
        if stopping is None:
            return None, None
        if validated:
            _see_that_it_is_logged(stopping, metrics)
        if stopping.monitor in metrics:
            value = torch.tensor(metrics[stopping.monitor], dtype=torch.float64)
            # Lightning's own test of a value: its public hooks would ask a Trainer for the metric.
            stop, reason = stopping._evaluate_stopping_criteria(value)
            if stop:
                stopping.stopped_epoch, stopping.stopping_reason_message = n_epochs - 1, reason
        if n_epochs < self.min_epochs or not signaled({"": stopping}):
            return None, None
        return "stopped", stopping.stopping_reason_message

    def _is_best(self, run: int, metrics: Mapping[str, float], validated: bool) -> bool:
        member = self.members[run]
        # An epoch without validation would choose by the training's metrics, and for good.
        if member.monitor == AUTO and validated:
            member.monitor = judge(metrics) or member.monitor
        if member.monitor is None or (member.monitor not in metrics and not validated):
            return False
        if member.monitor not in metrics:
            hint = suggestion(member.monitor, metrics, kind="logged are")
            raise ConfigError("callbacks.checkpoint.monitor", member.monitor, "is never logged", hint=hint)
        value = metrics[member.monitor]
        if not better(value, self.best_values.get(run), member.way):
            return False
        self.best_values[run] = value
        return True


def _see_that_it_is_logged(stopping: callbacks.EarlyStopping, metrics: Mapping[str, float]) -> None:
    if isinstance(stopping, EarlyStopping):
        stopping.choose(metrics)
    if stopping.strict and stopping.monitor not in metrics:
        hint = suggestion(stopping.monitor, metrics, kind="logged are")
        raise ConfigError("callbacks.early_stopping.monitor", stopping.monitor, "is never logged", hint=hint)


def _diverged(divergence: Divergence | None, metrics: Mapping[str, float]) -> tuple[Ending | None, str | None]:
    if divergence:
        return "diverged", str(divergence)
    bad = [name for name, value in metrics.items() if is_loss(name) and not math.isfinite(value)]
    return ("diverged", f"{bad[0]} is {metrics[bad[0]]}") if bad else (None, None)
