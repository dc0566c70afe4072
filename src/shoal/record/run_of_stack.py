"""What one run of a stack leaves in its directory."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shoal.engines.job import Job
from shoal.engines.position import Position
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.names import EPOCH, GRAD_NORM, STEP
from shoal.record import environment
from shoal.record.callbacks import unasked
from shoal.record.checkpoints.checkpoint import checkpoint_of
from shoal.record.checkpoints.checkpoint_file import EXTRA, SealedIO
from shoal.record.checkpoints.generator_states import generator_states, restore_generators
from shoal.record.conclusion import Concluded, concluded, n_parameters
from shoal.record.loggers.hyperparameters import hyperparameters, results
from shoal.record.loggers.run_logger import RunLogger
from shoal.record.loggers.trackers import tell
from shoal.record.run_record import RunRecord
from shoal.rundir import Best, RunDir, RunInfo, Status
from shoal.rundir.atomic import copy
from shoal.seeding import seed_global


@dataclass(frozen=True)
class StackRun:
    """A run of a stack."""

    job: Job
    run: RunDir
    info: RunInfo
    finished: bool = False
    """Whether it had come to its end before the stack was interrupted; then nothing of it is written again."""


class Track:
    """What one run of a stack leaves in its directory."""

    def __init__(
        self,
        place: int,
        given: StackRun,
        files: Mapping[str, Any] | None,
        best: Mapping[str, Any] | None,
        versions: dict[str, str],
    ) -> None:
        self.place = place
        self.job = given.job
        self.run = given.run
        self.best = Best(**best) if best else None
        self.at_best: Mapping[str, int] = files["at_best"] if files else {}
        """How long the files were when the best state was the newest."""
        self._before_part: dict[str, Any] | None = None
        """What the files were before an epoch that `max_steps` cut short."""
        self._monitor = checkpoint_of(given.job)
        self._dropped = unasked(given.job)
        info = replace(given.info, engine="vectorized")
        self.record = RunRecord(given.job, given.run, info, kept=files, versions=versions)
        # A stack that goes on may be stopped before its next epoch: then these hold.
        self._epochs, self._steps = self.info.epochs, self.info.steps
        self.began = files["began"] if files else self.record.began
        """How long the event file was before the first row."""
        self._opened_at = time.monotonic()
        self._logger = RunLogger(given.run)

    @property
    def info(self) -> RunInfo:
        """What run.json says, or will say in the end."""
        return self.record.info

    def hear(self, member: Member) -> None:
        """Take down what hooks of the run write to its logger."""
        for each in member.trainer.loggers:
            if isinstance(each, RunLogger):
                self._logger = each
        self._logger.open(self.record)

    def add(self, row: RunEpoch, unlogged: Collection[str]) -> dict[str, float]:
        """Put an epoch into the history; the metrics it measured, but for those that no history has."""
        if row.cut_short:  # a training that goes on from there does not measure here
            self._before_part = self.record.flush()
        left_out = self._dropped.union(unlogged)
        metrics = dict(row.metrics)
        if not left_out.isdisjoint(metrics):
            metrics = {name: value for name, value in metrics.items() if name not in left_out}
        given, self._logger.given = self._logger.given, {}
        metrics |= given
        self.record.history.add({STEP: row.step, EPOCH: row.epoch, **metrics})  # its event comes with the stack's
        self._epochs, self._steps = row.epoch + 1, row.step
        # With `auto` the stack finds the metric at a validation, and the callback learns of it here.
        monitor = row.monitor or self._monitor.monitor
        if row.best and monitor:
            self._monitor.monitor = monitor
            self.best = Best(monitor, self._monitor.way, row.metrics[monitor], row.epoch, row.step)
        return metrics

    def note_best(self) -> None:
        """Take note of how long the files are: what was measured last is the best so far."""
        self.at_best = self.record.length()

    def save(
        self,
        last: dict[str, Any] | None,
        best: dict[str, Any] | None,
        position: Position,
        *,
        over: bool,
        best_is_last: bool = False,
    ) -> None:
        """Write the last state, which stands at `position`, and the best, where that is another one."""
        files = self.record.flush()
        self.record.sync()
        if last is not None:
            completed = self._completed(last, position, self._before_part or files, files if over else None)
            SealedIO().save_checkpoint(completed, self.run.last)
        if best_is_last:
            copy(self.run.last, self.run.best)
        if best is None:
            return
        then = Position(best["epoch"], 0, best["global_step"])
        SealedIO().save_checkpoint(self._completed(best, then, self._files_at_best(), None), self.run.best)
        if last is None:
            copy(self.run.best, self.run.last)

    def save_first(self, first: dict[str, Any]) -> None:
        """Write the state that the run began with as its last."""
        self.record.flush()
        files = {"rows": 0, "digest": self.record.history.digest_at(0), "events": self.began}
        SealedIO().save_checkpoint(self._completed(first, Position(), files, None), self.run.last)

    def conclude(self, status: Status, member: Member) -> None:
        """Measure what is measured once, of the weights that the module has now, and bring the files up to date."""
        final = self.record.history.final()
        measured_once = (
            concluded(member.job.presented(member.module), self.job, self.run.last, self._steps)
            if status is Status.COMPLETED
            else Concluded()
        )
        final |= measured_once.metrics
        parameters, trainable = n_parameters(member.module)
        if self.record.events and status is Status.COMPLETED:
            settings = hyperparameters(self.info, self.job.config)
            shown = results(final, self.best, self.record.history.columns)
            self.record.events.hyperparameters(settings, shown, step=self._steps)
        self.record.flush()
        self.record.sync()
        self.record.update(
            epochs=self._epochs,
            steps=self._steps,
            parameters=parameters,
            trainable=trainable,
            final=final,
            assessment=measured_once.assessment,
            references=dict(measured_once.references),
            fit=measured_once.fit,
            best=self.best,
            at_best=self.record.at(self.best),
        )

    def end(self, status: Status, reason: str | None, notes: Sequence[str], device: str) -> None:
        """Write the final run.json, once all other files are in place; `notes` are what there is to say of the bits.

        `device` is the kind of device that it trained on.
        """
        # Only at its end: each of hundreds of runs would wait for its tracker at every epoch, and all runs with it.
        tell(self.job, self.run, self.info, self.record.history.rows, failed=status is not Status.COMPLETED)
        self.record.close(
            status,
            reason,
            # Each note once: a stack that was interrupted says again what run.json has from before.
            exactness=list(dict.fromkeys([*self.info.exactness, *notes])),
            hardware=environment.hardware(environment.named_accelerator(device), 1, self.job.precision),
            fit_seconds=self.info.fit_seconds + time.monotonic() - self._opened_at,
        )

    def ending(self, row: RunEpoch) -> tuple[Status, str | None]:
        """What run.json says of a run that has come to its end in training, with this row."""
        if row.ended != "diverged":
            return Status.COMPLETED, row.reason if row.ended == "halved" else None
        measured = [each.get(GRAD_NORM, math.nan) for each in self.record.history.rows]
        norms = [norm for norm in (row.norm, *measured) if norm is not None and math.isfinite(norm)]
        largest = f"; the largest gradient norm measured before it was {max(norms):.3g}" if norms else ""
        return Status.DIVERGED, f"{row.reason} (epoch {row.epoch}): the run diverged{largest}"

    def _files_at_best(self) -> dict[str, Any]:
        return {**self.at_best, "digest": self.record.history.digest_at(self.at_best["rows"])}

    def _completed(
        self, checkpoint: dict[str, Any], position: Position, files: dict[str, Any], over: dict[str, Any] | None
    ) -> dict[str, Any]:
        """A checkpoint with everything that one of a run that trained alone has."""
        # Under the key of the callback, which goes on from here if the run is resumed alone.
        checkpoint["callbacks"][self._monitor.state_key] = {"best": vars(self.best) if self.best else None}
        checkpoint[EXTRA] = {
            "files": files,
            "config": dict(self.job.config),
            "columns": self.record.columns(),
            "position": [position.epoch, position.batch, position.step],
            "over": dict(over) if over else None,
            "generators": _generators(self.job.seed, position.epoch),
        }
        return checkpoint


def _generators(seed: int, epoch: int) -> dict[str, Any]:
    """The global generators as a run that trains alone has them at the beginning of an epoch."""
    # Seeded, looked at and put back: nothing in a stack draws from them, but code around it may.
    before = generator_states()
    seed_global(seed, epoch)
    states = generator_states()
    restore_generators(before)
    return states
