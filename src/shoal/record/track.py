"""What one run of a stack leaves in its directory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shoal.engines.job import Job
from shoal.engines.position import Position
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Row
from shoal.names import EPOCH, GRAD_NORM, GRAD_NORM_CLIPPED, LR, STEP
from shoal.record import environment
from shoal.record.callbacks import logged
from shoal.record.checkpoint import EXTRA, Checkpoint, SealedIO, generator_states, restore_generators
from shoal.record.conclusion import Concluded, concluded, n_parameters
from shoal.record.events import EventFile
from shoal.record.hyperparameters import results
from shoal.record.tensorboard import TensorBoard
from shoal.rundir import (
    Best,
    History,
    RunDir,
    RunInfo,
    Status,
    read_intact,
    seal,
    write_config,
    write_info,
)
from shoal.rundir.atomic import copy, sync
from shoal.rundir.info import now
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
        self._dropped = {LR, GRAD_NORM, GRAD_NORM_CLIPPED} - logged(
            given.job.callbacks.values(), clips=given.job.trainer.get("gradient_clip_val") is not None
        )
        self._began = time.monotonic()
        self._wanted = any(isinstance(logger, TensorBoard) for logger in given.job.loggers.values())
        config = write_config(self.run.config, given.job.config)
        self.info = replace(
            given.info,
            status=Status.RUNNING,
            engine="vectorized",
            reason=None,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=given.info.started or now(),
            ended=None,
            versions=versions,
            digest=given.job.task.digest,
        )
        write_info(self.run.info, self.info)
        self._epochs, self._steps = self.info.epochs, self.info.steps
        self.history, self.events = self._files(files, config)
        self.began = files["began"] if files else self.events.length if self.events else 0
        """How long the event file was before the first row."""

    def add(self, row: Row) -> dict[str, float]:
        """Put an epoch into the history; the metrics it measured."""
        if row.cut_short:  # a training that goes on from there does not measure here
            self._before_part = self.flush()
        metrics = {name: value for name, value in row.metrics.items() if name not in self._dropped}
        self.history.add({STEP: row.step, EPOCH: row.epoch, **metrics})
        self._epochs, self._steps = row.epoch + 1, row.step
        if row.best:
            self._monitor.monitor = row.monitor or self._monitor.monitor
            value = row.metrics[self._monitor.monitor]
            self.best = Best(self._monitor.monitor, self._monitor.way, value, row.epoch, row.step)
        return metrics

    def note_best(self) -> None:
        """Take note of how long the files are: what was measured last is the best so far."""
        self.at_best = {"rows": len(self.history.rows), "events": self.events.length if self.events else 0}

    def flush(self) -> dict[str, Any]:
        """Bring the files up to date; what they hold now, for a resume to cut them back to."""
        self.history.flush()
        events = self.events.flush() if self.events else 0
        return {"rows": len(self.history.rows), "digest": self.history.digest(), "events": events}

    def sync(self) -> None:
        """Make what was flushed survive a crash of the machine."""
        for path in (self.history.path, self.events.path if self.events else None):
            if path is not None and path.exists():
                sync(path)

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
        files = self.flush()
        self.sync()
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
        self.flush()
        files = {"rows": 0, "digest": self.history.digest_at(0), "events": self.began}
        SealedIO().save_checkpoint(self._completed(first, Position(), files, None), self.run.last)

    def conclude(self, status: Status, member: Member) -> None:
        """Measure what is measured once, of the weights that the module has now, and bring the files up to date."""
        final = self.history.final()
        measured_once = (
            concluded(member.job.presented(member.module), self.job.data) if status is Status.COMPLETED else Concluded()
        )
        final |= measured_once.metrics
        parameters, trainable = n_parameters(member.module)
        if self.events and status is Status.COMPLETED:
            measured = results(final, self.best)
            self.events.hyperparameters(self.info.differs or {"seed": self.job.seed}, measured, step=self._steps)
        self.flush()
        self.sync()
        self.info = replace(
            self.info,
            epochs=self._epochs,
            steps=self._steps,
            parameters=parameters,
            trainable=trainable,
            final=final,
            assessment=measured_once.assessment,
            best=self.best,
        )

    def end(self, status: Status, reason: str | None) -> None:
        """Write the final run.json, once all other files are in place."""
        self.info = replace(
            self.info,
            status=status,
            reason=reason,
            ended=now(),
            seconds=self.info.seconds + time.monotonic() - self._began,
            hardware=environment.hardware("cpu", 1),
            fit_seconds=self.info.fit_seconds + time.monotonic() - self._began,
            artifacts=seal(self.run.path, self.run.artifacts()),
        )
        write_info(self.run.info, self.info)

    def _files(self, kept: Mapping[str, Any] | None, config: str) -> tuple[History, EventFile | None]:
        existing = self.run.events()
        if kept is None:
            for file in [*existing, self.run.history]:
                file.unlink(missing_ok=True)
            return History(self.run.history), self._new_events(config) if self._wanted else None
        history, _ = read_intact(self.run.history)
        history.keep(kept["rows"])
        if not self._wanted:
            return history, None
        events = EventFile(existing[-1]) if existing else None
        if events is None or not events.cut(kept["events"]):
            for file in existing:
                file.unlink()
            events = self._new_events(config)
            for row in history.rows:
                values = {name: value for name, value in row.items() if name not in (STEP, EPOCH)}
                events.scalars(values, step=int(row[STEP]))
        return history, events

    def _new_events(self, config: str) -> EventFile:
        events = EventFile.create(self.run.path)
        events.text("config", f"```yaml\n{config}```")
        return events

    def _files_at_best(self) -> dict[str, Any]:
        return {**self.at_best, "digest": self.history.digest_at(self.at_best["rows"])}

    def _completed(
        self, checkpoint: dict[str, Any], position: Position, files: dict[str, Any], over: dict[str, Any] | None
    ) -> dict[str, Any]:
        """A checkpoint with everything that one of a run that trained alone has."""
        data = self.job.data
        columns = {"features": list(data.features), "targets": list(data.targets), "encoding": dict(data.encoding)}
        checkpoint["callbacks"][self._monitor.state_key] = {"best": vars(self.best) if self.best else None}
        checkpoint[EXTRA] = {
            "files": files,
            "config": dict(self.job.config),
            "columns": columns,
            "position": [position.epoch, position.batch, position.step],
            "over": dict(over) if over else None,
            "generators": _generators(self.job.seed, position.epoch),
        }
        return checkpoint


def _generators(seed: int, epoch: int) -> dict[str, Any]:
    """The global generators as a run that trains alone has them at the beginning of an epoch."""
    before = generator_states()
    seed_global(seed, epoch)
    states = generator_states()
    restore_generators(before)
    return states


def checkpoint_of(job: Job) -> Checkpoint:
    """The job's callback that says which states to keep; one with its defaults where the job has none."""
    return next((each for each in job.callbacks.values() if isinstance(each, Checkpoint)), None) or Checkpoint()
