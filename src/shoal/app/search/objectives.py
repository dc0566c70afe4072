"""What a study compares its trials by: values of run.json, each to be as small or as large as can be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from shoal.build.logged_names import metrics
from shoal.engines.job import Job
from shoal.errors import ConfigError, suggestion
from shoal.judging import AUTO, judge, measured, way_of
from shoal.names import DERIVATIVE, VAL_LOSS, halved
from shoal.record.checkpoints.checkpoint import checkpoint_of
from shoal.record.derivative import has_derivative
from shoal.review.values import rises
from shoal.rundir import RunInfo, Status

FIELDS = ("parameters", "trainable", "epochs", "steps", "seconds", "fit_seconds")
"""Values that every run has, beside its metrics."""
KEY = "sweep.objectives"


@dataclass(frozen=True)
class Goal:
    """One value, and where it should go."""

    name: str
    """A metric, or one of `FIELDS`."""
    direction: str
    """`minimize` or `maximize`."""

    def value(self, run: RunInfo) -> float | None:
        """What the run has come to: a metric as it was in its best state, the last value where none of it is known."""
        if self.name in FIELDS:
            return float(getattr(run, self.name))
        return measured(run, self.name)


@dataclass(frozen=True)
class TrialOutcome:
    """What becomes of a trial."""

    state: str
    """`complete`, `pruned` or `fail`."""
    values: tuple[float, ...] = ()
    step: int = 0
    """Epochs after which it was pruned."""
    reason: str = ""
    status: str = ""
    """Of the run that made it fail."""


def objectives(job: Job, names: Sequence[str] | None, directions: Sequence[str] | None) -> list[Goal]:
    """What to compare by: unless named, the metric that the job monitors, in the direction that it says.

    Raises:
        ConfigError: where one is never measured, or there are more or fewer directions than names.
    """
    checkpoint = checkpoint_of(job)
    named = None if checkpoint.monitor == AUTO else checkpoint.monitor
    monitor = named or judge(metrics(job) or ()) or VAL_LOSS
    chosen = list(names or [monitor])
    if len(set(chosen)) < len(chosen):
        raise ConfigError(KEY, chosen, "names one twice")
    logged = metrics(job)
    if logged is not None:
        derivative = {DERIVATIVE} if has_derivative(job.task) else set()
        _refuse_unknown(chosen, {*FIELDS, *logged, *derivative})
    own = {monitor: "maximize" if way_of(checkpoint.mode, monitor) == "max" else "minimize"}
    usual = [own.get(name) or ("maximize" if rises(name, ()) else "minimize") for name in chosen]
    if directions and len(directions) != len(chosen):
        problem = f"must be one for each of the {len(chosen)} objectives ({', '.join(chosen)})"
        hint = f"for example [{','.join(usual)}]"
        raise ConfigError("sweep.directions", list(directions), problem, hint=hint)
    return [Goal(name, way) for name, way in zip(chosen, directions or usual, strict=True)]


def refuse_unmeasured(wanted: Sequence[Goal], runs: Sequence[RunInfo]) -> None:
    """Refuse what none of the completed runs has measured.

    Raises:
        ConfigError: the first such objective, with the nearest name that there is.
    """
    done = [run for run in runs if run.status is Status.COMPLETED]
    measured = {each.name for each in wanted for run in done if each.value(run) is not None}
    if done:
        there = {*FIELDS, *(name for run in done for name in run.final)}
        _refuse_unknown([each.name for each in wanted], there | measured)


def outcome(runs: Sequence[RunInfo], wanted: Sequence[Goal]) -> TrialOutcome:
    """What to tell of a trial with these runs: the means of their values; it fails where one of them does."""
    bad = [run for run in runs if run.status is not Status.COMPLETED]
    if bad:
        worst = next((run for run in bad if run.status is Status.FAILED), bad[0])
        return TrialOutcome("fail", reason=f"{worst.id}: {worst.reason or worst.status}", status=str(worst.status))
    values = []
    for each in wanted:
        found = [value for run in runs if (value := each.value(run)) is not None]
        mean = statistics.fmean(found) if len(found) == len(runs) else math.nan
        if not math.isfinite(mean):
            return TrialOutcome("fail", reason=f"{each.name} has no finite value")
        values.append(mean)
    pruned = any(halved(run.reason) for run in runs)
    return TrialOutcome("pruned" if pruned else "complete", tuple(values), max(run.epochs for run in runs))


def _refuse_unknown(names: Sequence[str], there: Collection[str]) -> None:
    for name in names:
        if name not in there:
            hint = suggestion(name, there, kind="measured are")
            raise ConfigError(KEY, list(names), f"{name} is never measured", hint=hint)
