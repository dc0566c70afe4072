"""Trains a stack of jobs into their run directories, each of which ends up as if its run had trained alone."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from shoal.engines.job import Job
from shoal.engines.lightning import EXPECTED_WARNINGS
from shoal.engines.position import Position
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Row, Running
from shoal.names import EPOCH, GRAD_NORM, GRAD_NORM_CLIPPED, LR, STEP
from shoal.record import environment
from shoal.record.callbacks import logged
from shoal.record.checkpoint import EXTRA, Checkpoint, SealedIO, generator_states, load, restore_generators
from shoal.record.conclusion import Concluded, concluded
from shoal.record.events import EventFile
from shoal.record.interruption import Interrupted, Interruption
from shoal.record.scalars import encoded
from shoal.record.tensorboard import TensorBoard
from shoal.rundir import (
    Best,
    History,
    RunDir,
    RunInfo,
    Status,
    claim,
    read_intact,
    seal,
    write_config,
    write_info,
)
from shoal.rundir.atomic import share, sync
from shoal.seeding import seed_global

log = logging.getLogger("shoal")


@dataclass(frozen=True)
class StackRun:
    """A run of a stack."""

    job: Job
    run: RunDir
    info: RunInfo
    finished: bool = False
    """Whether it had come to its end before the stack was interrupted; then nothing of it is written again."""


class CannotStackError(Exception):
    """Some runs cannot train in a stack: `reasons` says why, by their place. Nothing has been trained or written."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


Advanced = Callable[[float, float | None], None]
"""Told the share of the training that is done, and the best monitored value."""
Finished = Callable[[int, RunInfo], None]
"""Told the place of a run that has come to its end, and what its run.json says."""


def train_stack(runs: Sequence[StackRun], *, state: Path | None, advanced: Advanced, ended: Finished) -> None:
    """Train the runs as one stack; `state` is where all of it is kept meanwhile, and taken from if it is there.

    Raises:
        CannotStackError: where the probe finds runs that would train differently alone.
        UsageError: where another process trains one of them.
        Interrupted, ShoalError, or what a job raised: after it is recorded for all runs that had not ended.
    """
    interruption = Interruption()
    with ExitStack() as claims, interruption.listening():
        for each in runs:
            claims.enter_context(claim(each.run))
        _Session(runs, state, interruption, advanced, ended).train()


class _Session:
    """One process at work on one stack."""

    def __init__(
        self,
        runs: Sequence[StackRun],
        state: Path | None,
        interruption: Interruption,
        advanced: Advanced,
        ended: Finished,
    ) -> None:
        self.state = state
        self.interruption = interruption
        self.advanced = advanced
        self.ended = ended
        self.checkpoints = [_checkpoint(each.job) for each in runs]
        monitored = zip(runs, self.checkpoints, strict=True)
        self.running = Running([Member.of(run.job, monitor=how.monitor, mode=how.mode) for run, how in monitored])
        saved = self._saved(runs)
        if saved is None:
            self._probe()
        else:
            self.running.load_state_dict(saved["running"])
        files = saved["files"] if saved else {}
        bests = saved["bests"] if saved else {}
        versions = environment.versions()
        self.tracks = [
            None if each.finished else _Track(place, each, files.get(place), bests.get(place), versions)
            for place, each in enumerate(runs)
        ]
        self._names = [each.run.path.name for each in runs]
        self._saved_at = time.monotonic()

    def train(self) -> None:
        """Train all runs, and record how each of them ended."""
        log.info("training %d runs as a stack, from epoch %d", len(self._names), self.running.epoch)
        try:
            with warnings.catch_warnings():
                for message in EXPECTED_WARNINGS:
                    warnings.filterwarnings("ignore", message=message)
                driver.fit(self.running, self)
        except BaseException as error:
            log.error("%s", error)
            for track in filter(None, self.tracks):
                if not track.info.finished:
                    self._end(track, _status(error), _reason(error))
            raise
        if self.state:
            self.state.unlink(missing_ok=True)

    def epoch_ended(self, rows: Sequence[Row], running: Running) -> None:
        """Record an epoch of every run; end those that came to their end; save what is due, and stop if asked to."""
        self._record(rows)
        for row in rows:
            track = self.tracks[row.run]
            if track is not None and row.ended:
                self._save(track, over=row.ended != "diverged")
                status = Status.DIVERGED if row.ended == "diverged" else Status.COMPLETED
                self._end(track, status, _divergence(row) if row.ended == "diverged" else None)
        self._advance(running)
        left = any(track and not track.info.finished for track in self.tracks)
        if left and self.interruption.received is not None:
            self._save_all()
            raise Interrupted(self.interruption.received, f"at step {running.step} (epoch {running.epoch})")
        if left and time.monotonic() - self._saved_at >= self.checkpoints[0].every_seconds:
            self._save_state()

    def _record(self, rows: Sequence[Row]) -> None:
        groups: dict[tuple[int, tuple[str, ...]], list[tuple[_Track, list[float]]]] = {}
        for row in rows:
            track = self.tracks[row.run]
            if track is not None:
                metrics = track.add(row)
                groups.setdefault((row.step, tuple(metrics)), []).append((track, list(metrics.values())))
        for (step, names), found in groups.items():
            written = [(track.events, values) for track, values in found if track.events]
            records = encoded(names, [values for _, values in written], step=step, wall_time=time.time())
            for (events, _), record in zip(written, records, strict=True):
                events.add(record)
        for row in rows:
            track = self.tracks[row.run]
            if track is not None and row.best:
                track.note_best()

    def _advance(self, running: Running) -> None:
        bests = list(running.best_values.values())
        best = (min if self.checkpoints[0].mode == "min" else max)(bests) if bests else None
        if running.max_epochs and running.max_epochs > 0:
            self.advanced(running.epoch / running.max_epochs, best)

    def _save_state(self) -> None:
        """Keep the state of the whole stack in one file, once the runs' own files are up to date."""
        if self.state is None:
            return
        open_ = {place: track for place, track in enumerate(self.tracks) if track and not track.info.finished}
        content = {
            "runs": self._names,
            "running": self.running.state_dict(),
            "files": {place: track.flush() | {"at_best": track.at_best} for place, track in open_.items()},
            "bests": {place: vars(track.best) if track.best else None for place, track in open_.items()},
        }
        for track in open_.values():
            track.sync()
        self.state.parent.mkdir(parents=True, exist_ok=True)
        SealedIO().save_checkpoint({EXTRA: content}, self.state)
        self._saved_at = time.monotonic()

    def _save_all(self) -> None:
        self._save_state()
        for track in self.tracks:
            if track is not None and not track.info.finished:
                self._save(track, over=False)

    def _save(self, track: _Track, *, over: bool) -> None:
        """Write the run's own checkpoints; of one that diverged only the best, from when it was finite."""
        best = self.running.best_checkpoint(track.place)
        diverged = self.running.endings.get(track.place) == "diverged"
        last = None if diverged else self.running.checkpoint(track.place)
        track.save(last, best, self.running.position(track.place), over=over)

    def _end(self, track: _Track, status: Status, reason: str | None) -> None:
        member = self.running.members[track.place]
        if status is Status.COMPLETED:  # what is measured once is measured of the best state
            state = self.running.best_checkpoint(track.place) or self.running.checkpoint(track.place)
            member.module.load_state_dict(state["state_dict"])
        self.ended(track.place, track.end(status, reason, member))

    def _saved(self, runs: Sequence[StackRun]) -> dict[str, Any] | None:
        """The state of this very stack, if there is one."""
        if self.state is None or not self.state.exists():
            return None
        content = load(self.state)[EXTRA]
        return content if content["runs"] == [each.run.path.name for each in runs] else None

    def _probe(self) -> None:
        reasons = driver.unlike_alone(self.running)
        if reasons:
            raise CannotStackError(reasons)


class _Track:
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
        self._monitor = _checkpoint(given.job)
        self._dropped = {LR, GRAD_NORM, GRAD_NORM_CLIPPED} - logged(
            given.job.callbacks.values(), clips=given.job.trainer.get("gradient_clip_val") is not None
        )
        self._began = time.monotonic()
        self._wanted = any(isinstance(logger, TensorBoard) for logger in given.job.loggers.values())
        write_config(self.run.config, given.job.config)
        self.info = replace(
            given.info,
            status=Status.RUNNING,
            engine="vectorized",
            reason=None,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=given.info.started or _now(),
            ended=None,
            versions=versions,
            digest=given.job.task.digest,
        )
        write_info(self.run.info, self.info)
        self.history, self.events = self._files(files)

    def add(self, row: Row) -> dict[str, float]:
        """Put an epoch into the history; the metrics it measured."""
        if row.cut_short:  # a training that goes on from there does not measure here
            self._before_part = self.flush()
        metrics = {name: value for name, value in row.metrics.items() if name not in self._dropped}
        self.history.add({STEP: row.step, EPOCH: row.epoch, **metrics})
        self.info = replace(self.info, epochs=row.epoch + 1, steps=row.step)
        if row.best and self._monitor.monitor:
            value = row.metrics[self._monitor.monitor]
            self.best = Best(self._monitor.monitor, self._monitor.mode, value, row.epoch, row.step)
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

    def save(self, last: dict[str, Any] | None, best: dict[str, Any] | None, position: Position, *, over: bool) -> None:
        """Write the last state, which stands at `position`, and the best."""
        files = self.flush()
        if last is not None:
            completed = self._completed(last, position, self._before_part or files, files if over else None)
            SealedIO().save_checkpoint(completed, self.run.last)
        if best is None:
            return
        if last is not None and best["global_step"] == last["global_step"]:
            share(self.run.last, self.run.best)
            return
        then = Position(best["epoch"], 0, best["global_step"])
        SealedIO().save_checkpoint(self._completed(best, then, self._files_at_best(), None), self.run.best)
        if last is None:
            share(self.run.best, self.run.last)

    def end(self, status: Status, reason: str | None, member: Member) -> RunInfo:
        """Write the final run.json."""
        final: dict[str, float] = {}
        for row in self.history.rows:
            final |= row
        final = {name: value for name, value in final.items() if name not in (STEP, EPOCH)}
        measured_once = (
            concluded(member.job.presented(member.module), self.job.data) if status is Status.COMPLETED else Concluded()
        )
        final |= measured_once.metrics
        parameters = list(member.module.parameters())
        if self.events and status is Status.COMPLETED:
            measured = {f"hp/{name}": value for name, value in final.items()}
            if self.best:
                measured[f"hp/best {self.best.metric}"] = self.best.value
            self.events.hyperparameters(self.info.differs or {"seed": self.job.seed}, measured, step=self.info.steps)
        self.flush()
        self.info = replace(
            self.info,
            status=status,
            reason=reason,
            ended=_now(),
            seconds=self.info.seconds + time.monotonic() - self._began,
            parameters=sum(each.numel() for each in parameters),
            trainable=sum(each.numel() for each in parameters if each.requires_grad),
            hardware=environment.hardware("cpu", 1),
            fit_seconds=self.info.fit_seconds + time.monotonic() - self._began,
            final=final,
            assessment=measured_once.assessment,
            best=self.best,
            artifacts=seal(self.run.path, self.run.artifacts()),
        )
        write_info(self.run.info, self.info)
        return self.info

    def _files(self, kept: Mapping[str, Any] | None) -> tuple[History, EventFile | None]:
        existing = self.run.events()
        if kept is None:
            for file in [*existing, self.run.history]:
                file.unlink(missing_ok=True)
            return History(self.run.history), self._new_events() if self._wanted else None
        history, _ = read_intact(self.run.history)
        history.keep(kept["rows"])
        if not self._wanted:
            return history, None
        events = EventFile(existing[-1]) if existing else None
        if events is None or not events.cut(kept["events"]):
            for file in existing:
                file.unlink()
            events = self._new_events()
            for row in history.rows:
                values = {name: value for name, value in row.items() if name not in (STEP, EPOCH)}
                events.scalars(values, step=int(row[STEP]))
        return history, events

    def _new_events(self) -> EventFile:
        events = EventFile.create(self.run.path)
        events.text("config", f"```yaml\n{self.run.config.read_text(encoding='utf-8')}```")
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


def _checkpoint(job: Job) -> Checkpoint:
    found = next((each for each in job.callbacks.values() if isinstance(each, Checkpoint)), None)
    return found or Checkpoint(monitor="val/loss" if job.task.validates else "train/loss")


def _divergence(row: Row) -> str:
    norm = row.metrics.get(GRAD_NORM, math.nan)
    largest = f"; the gradient norm was {norm:.3g}" if math.isfinite(norm) else ""
    return f"{row.reason} (epoch {row.epoch}): the run diverged{largest}"


def _status(error: BaseException) -> Status:
    return Status.INTERRUPTED if isinstance(error, Interrupted | KeyboardInterrupt) else Status.FAILED


def _reason(error: BaseException) -> str:
    return getattr(error, "problem", f"{type(error).__name__}: {error}").strip().splitlines()[0]


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
