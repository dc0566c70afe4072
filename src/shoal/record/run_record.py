"""The record of one run while it trains: Lightning's logger and the stack are thin callers of it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from shoal import losses
from shoal.engines.job import Job
from shoal.errors import ShoalError, UsageError, brief, warn
from shoal.names import EPOCH, STEP
from shoal.record import environment
from shoal.record.computing import computing
from shoal.record.endings import status_of
from shoal.record.loggers.events import EventFile
from shoal.record.loggers.tensorboard import TensorBoard
from shoal.rundir import Best, History, RunDir, RunInfo, Status, read_intact, seal, write_config, write_info
from shoal.rundir.atomic import remove, sync
from shoal.rundir.info import now
from shoal.tasks import Task


class RunRecord:
    """What a run leaves in its directory beside its checkpoints.

    It is opened when the training begins or goes on, is given a row for each logged step, says how long its files are
    whenever a state is kept, and is closed with the final run.json.
    """

    def __init__(
        self,
        job: Job,
        run: RunDir,
        info: RunInfo,
        *,
        kept: Mapping[str, Any] | None = None,
        versions: dict[str, str] | None = None,
        beats: float | None = None,
    ) -> None:
        """Write run.json with the status `running`, and open the files: new, or cut back to what is `kept` of them.

        run.json says that it will be touched every `beats` seconds, where that is given.

        Raises:
            UsageError: where the run began with another content of the file its samples come from.
            UnwritableError: where a file cannot be written; run.json says so, if it can.
        """
        self.run = run
        self.job = job
        self._opened_at = time.monotonic()
        # Before anything is written: a run that is refused stays as it was.
        digest = unchanged(info, job.task)
        self._config = write_config(run.config, job.config)
        self.info = replace(
            info,
            status=Status.RUNNING,
            reason=None,
            pid=os.getpid(),
            host=socket.gethostname(),
            beats=beats,
            started=info.started or now(),
            ended=None,
            digest=digest,
            loss=_loss(job),
            unit=(job.task.units or {}).get(job.data.targets[0]) if job.task.units and job.in_memory else None,
            versions=versions or environment.versions(),
            **computing(job),
        )
        write_info(run.info, self.info)
        try:
            self.history, self.events = self._files(kept)
        except BaseException as error:  # run.json must not say for good that it is running
            failed = replace(self.info, status=status_of(error), reason=brief(error), ended=now())
            with contextlib.suppress(ShoalError):  # the disk may be full
                write_info(run.info, failed)
            raise
        self.began = self._event_bytes()
        """How long the event file was before the first row that this process adds."""

    def add(self, row: Mapping[str, float]) -> None:
        """Add what was logged at one step to the history and the events; `step` and `epoch` are among it."""
        self.history.add(dict(row))
        if self.events:
            self.events.scalars(_metrics(row), step=int(row[STEP]))

    def length(self) -> dict[str, int]:
        """How long the files will be once all that waits is written."""
        return {"rows": len(self.history.rows), "events": self._event_bytes()}

    def flush(self) -> dict[str, Any]:
        """Write all that waits; what the files hold now, for a resume to cut them back to.

        Raises:
            UnwritableError: where a file cannot be written.
        """
        self.history.flush()
        events = self.events.flush() if self.events else 0
        # The digest only here: `length` is asked at every best state, and rows that wait are in no digest yet.
        return {"rows": len(self.history.rows), "digest": self.history.digest(), "events": events}

    def sync(self) -> None:
        """Make what was flushed survive a crash of the machine, as a checkpoint that counts on it does."""
        for path in (self.history.path, self.events.path if self.events else None):
            if path is not None and path.exists():
                sync(path)

    def update(self, **changes: Any) -> None:
        """Take note of what run.json will say in the end."""
        self.info = replace(self.info, **changes)

    def close(self, status: Status, reason: str | None, **changes: Any) -> None:
        """Write the final run.json, once all other files are in place.

        Raises:
            UnwritableError: where it cannot be written.
        """
        self.info = replace(
            self.info,
            status=status,
            reason=reason,
            ended=now(),
            # Added to what earlier sessions took, which `info` has from run.json.
            seconds=self.info.seconds + time.monotonic() - self._opened_at,
            artifacts=seal(self.run.path, self.run.artifacts()),
            **changes,
        )
        write_info(self.run.info, self.info)

    def at(self, best: Best | None) -> dict[str, float]:
        """What was measured beside the monitored metric when that was best."""
        return self.history.at(best.step) if best else {}

    def columns(self) -> dict[str, Any]:
        """What predictions need of the samples, kept in each checkpoint."""
        data = self.job.data
        return {
            "features": list(data.features),
            "targets": list(data.targets),
            "encoding": dict(data.encoding),
            "ranges": {name: list(ends) for name, ends in data.ranges.items()},
            "shaped": [{**asdict(each), "shape": list(each.shape)} for each in data.shaped],
        }

    def _event_bytes(self) -> int:
        return self.events.length if self.events else 0

    def _files(self, kept: Mapping[str, Any] | None) -> tuple[History, EventFile | None]:
        wanted = any(isinstance(logger, TensorBoard) for logger in self.job.loggers.values())
        existing = self.run.events()
        # A run that begins anew in its directory leaves no rows of an earlier try behind.
        if kept is None:
            for file in [*existing, self.run.history]:
                remove(file)
            return History(self.run.history), self._new_events() if wanted else None
        history = self._history(kept)
        if not wanted:
            return history, None
        events = EventFile(existing[-1]) if existing else None
        if events is None or not events.cut(kept["events"]):
            events = self._rebuilt(existing, history)
        return history, events

    def _history(self, kept: Mapping[str, Any]) -> History:
        """The history as it was kept; what of it is lost is said, and is no reason to lose the training too."""
        history, problem = read_intact(self.run.history)
        # Rows behind the state are of steps that are about to be taken again.
        history.keep(kept["rows"])
        if len(history.rows) < kept["rows"]:
            warn(f"{problem or self.run.history}: {len(history.rows)} of {kept['rows']} rows are left")
        elif history.digest() != kept["digest"]:
            warn(f"{self.run.history} is damaged: its rows are not what was written")
        return history

    def _rebuilt(self, existing: Sequence[Path], history: History) -> EventFile:
        """A new event file with the curves of the history, in the place of one that is damaged or missing."""
        if existing:
            warn(f"{existing[-1]} is damaged: its curves are written anew from {self.run.history.name}")
        for file in existing:
            remove(file)
        events = self._new_events()
        for row in history.rows:
            events.scalars(_metrics(row), step=int(row[STEP]))
        return events

    def _new_events(self) -> EventFile:
        events = EventFile.create(self.run.path)
        events.text("config", f"```yaml\n{self._config}```")
        return events


def _loss(job: Job) -> str:
    """What the job minimizes; empty where its own module computes it."""
    if job.own_module:
        return ""
    return losses.title(job.loss, job.config.get("loss"), classes=not job.data.train.y.is_floating_point())


def unchanged(info: RunInfo, task: Task) -> str | None:
    """The digest of the file that the samples come from.

    Raises:
        UsageError: where the run began with another content of that file.
    """
    path = getattr(task, "path", "the file of the samples")
    try:
        digest = task.digest
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint=f"the working directory is {Path.cwd()}") from error
    if info.digest is not None and digest != info.digest:
        raise UsageError(
            f"{path} has changed since the run began: SHA-256 {(digest or 'none')[:12]}, then {info.digest[:12]}",
            hint="put the file back as it was, or start a new run",
        )
    return digest


def _metrics(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in (STEP, EPOCH)}
