"""A run or a sweep as it is found in its directory, and how it stands."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from shoal.errors import DamagedError
from shoal.names import halved
from shoal.rundir import ListedRun, RunDir, RunInfo, Status, SweepDir, SweepInfo, decode_info
from shoal.rundir.heartbeat import stopped

DAMAGED = "damaged"
"""Status of a run whose run.json cannot be read."""
LOST = "lost"
"""Status of a run whose run.json says running, while the process that ran it is gone."""
UNKNOWN = "unknown"
"""Status of a directory of another Hydra program, which keeps no account of how it ended."""
PENDING = "pending"
"""Status of a sweep's job that has not begun."""
REMOVED = "removed"
"""Status of a sweep's job that ended, and whose directory is gone."""

STATUSES = (*Status, LOST, DAMAGED, UNKNOWN)

_STAMP = re.compile(r"(\d{8}-\d{6})-")


@dataclass(slots=True, eq=False)
class RunEntry:
    """A run directory, as far as it has been read: whoever asks for more than a list shows has it read to its end."""

    path: Path
    summary: ListedRun | None = None
    """None where run.json is unreadable, or another program's."""
    damage: str | None = None
    """What is wrong with the directory, as far as that is known."""
    content: bytes = field(default=b"", repr=False)
    """Of run.json, for what `ListedRun` leaves out."""
    abandoned: bool = False
    """Whether the process that ran its sweep is gone, and with it all that trained for that."""

    @property
    def info(self) -> RunInfo | None:
        """All that run.json says. What only its unlisted parts get wrong is found out here."""
        if self.summary is None or isinstance(self.summary, RunInfo):
            return self.summary
        # Read on where it stopped: the content is still there, and the rest is decoded once.
        try:
            self.summary = decode_info(self.path / "run.json", self.content)
        except DamagedError as error:
            self.summary, self.damage = None, without_path(error, self.path)
            return None
        return self.summary

    @property
    def id(self) -> str:
        """What the run is called; another Hydra program's run by the last two parts of its path."""
        if self.summary:
            return self.summary.id
        return self.path.name if self.damage else "/".join(self.path.absolute().parts[-2:])

    @property
    def task(self) -> str:
        """Name of the task, as far as it is known."""
        if self.summary:
            return self.summary.task
        return self.path.absolute().parent.name if self.damage else ""

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        summary = self.summary
        if self.damage:
            return DAMAGED
        if summary is None:
            return UNKNOWN
        if summary.status is Status.RUNNING and self._lost(summary):
            return LOST
        return str(summary.status)

    @property
    def reason(self) -> str | None:
        """Why the run did not complete."""
        summary = self.summary
        if summary and summary.status is Status.RUNNING and self.status == LOST:
            return f"{_process(summary)} is gone; shoal resume {self.id}"
        return self.damage or (summary.reason if summary else None)

    def _lost(self, summary: ListedRun) -> bool:
        """Whether its process is gone; one that goes on with a run of a sweep by itself is not the sweep's."""
        return (self.abandoned and summary.beats is None) or _gone(summary, self.dir.info)

    @property
    def dir(self) -> RunDir:
        """The files of the run."""
        return RunDir(self.path)


@dataclass(frozen=True, slots=True)
class SweepEntry:
    """A sweep directory and its runs; `info` is None where sweep.json is unreadable, and `damage` says why."""

    path: Path
    runs: tuple[RunEntry, ...]
    info: SweepInfo | None = None
    damage: str | None = None

    @property
    def summary(self) -> SweepInfo | None:
        """What runs and sweeps both have for a list."""
        return self.info

    @property
    def id(self) -> str:
        """What the sweep is called."""
        return self.info.id if self.info else self.path.name

    @property
    def task(self) -> str:
        """Name of the task, as far as it is known."""
        return self.info.task if self.info else self.path.parent.name

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        if self.info is None:
            return DAMAGED
        if self.info.status is Status.RUNNING and _gone(self.info, self.dir.info):
            return LOST
        return str(self.info.status)

    @property
    def reason(self) -> str | None:
        """Why sweep.json cannot be read, or that its process is gone."""
        if self.status == LOST and self.info:
            return f"{_process(self.info)} is gone; the same command again goes on"
        return self.damage

    @property
    def dir(self) -> SweepDir:
        """The files of the sweep."""
        return SweepDir(self.path)

    @property
    def n_halved(self) -> int:
        """How many of the completed runs halving has stopped."""
        return sum(run.summary is not None and halved(run.summary.reason) for run in self.runs)

    def counts(self) -> Counter[str]:
        """How many jobs have which status; one without a directory is pending, or was removed after it ended."""
        counts = Counter(run.status for run in self.runs)
        there = {run.path.name for run in self.runs}
        missing = [job for job in self.info.jobs if job.run not in there] if self.info else []
        counts.update(REMOVED if job.status else PENDING for job in missing)
        return counts


Entry = RunEntry | SweepEntry


def runs(entries: Iterable[Entry]) -> list[RunEntry]:
    """The runs among the entries, and those of the sweeps among them."""
    found: list[RunEntry] = []
    for entry in entries:
        found += entry.runs if isinstance(entry, SweepEntry) else (entry,)
    return found


def began(entry: Entry) -> tuple[str, str, str]:
    """A key that sorts by when a run or sweep began: by its id, since a clock can be set back; else by its start.

    Within a second, which is all that an id says, the start decides.
    """
    name = entry.id
    stamp = _STAMP.match(name)
    when = stamp[1] if stamp else _started(entry)
    return when, (entry.summary.started if entry.summary else None) or "", name


def untimed(name: str) -> str:
    """An id without the time it begins with: `k3f9x2`, and of a sweep's run `k3f9x2-0003`."""
    return _STAMP.sub("", name, count=1) if _STAMP.match(name) else name


def gone(pid: int | None, host: str | None) -> bool:
    """Whether a process of this machine has ended; False where that cannot be told."""
    if pid is None or host != _host():
        return False
    try:
        # Signal 0 is only checked, not sent: refused for another user's process, which therefore lives.
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _gone(summary: ListedRun | SweepInfo, file: Path) -> bool:
    """Whether the process that wrote this into the file is gone, on whichever machine."""
    # Of another machine only the beats of its file can be seen.
    if summary.host == _host() or summary.beats is None:
        return gone(summary.pid, summary.host)
    return stopped(file, summary.beats)


def _process(summary: ListedRun | SweepInfo) -> str:
    where = "" if summary.host == _host() else f" on {summary.host}"
    return f"pid {summary.pid}{where}"


@cache
def _host() -> str:
    return platform.node()


def _started(entry: Entry) -> str:
    started = entry.summary.started if entry.summary else None
    try:
        when = datetime.fromisoformat(started) if started else datetime.fromtimestamp(entry.path.stat().st_mtime)
    except (ValueError, OSError):
        return ""
    return f"{when.astimezone(UTC):%Y%m%d-%H%M%S}"


def without_path(error: DamagedError, folder: Path) -> str:
    """What is wrong with a file of the folder, for those who see the folder beside it."""
    return error.problem.replace(f"{folder}/", "")
