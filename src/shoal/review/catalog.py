"""The runs and sweeps below a folder. There is no index: reading ten thousand run.json takes half a second."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from shoal.errors import DamagedError, UsageError
from shoal.rundir import RunDir, RunInfo, Status, SweepDir, SweepInfo, decode_info, read_sweep

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

_DEPTH = 8
"""Folders of folders that are looked into."""
_READERS = 4
_MANY = 100
_STAMP = re.compile(r"(\d{8}-\d{6})-")
_HISTORY = "metrics.csv"
_TRACES = {"config.yaml", "metrics.csv", "checkpoints", "train.log", ".lock"}
"""What a run leaves behind at its top: where one of these lies without run.json, a run was damaged."""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run directory; `info` is None where run.json is unreadable or another program's, `damage` what is wrong."""

    path: Path
    info: RunInfo | None = None
    damage: str | None = None

    @property
    def id(self) -> str:
        """What the run is called; another Hydra program's run by the last two parts of its path."""
        if self.info:
            return self.info.id
        return self.path.name if self.damage else "/".join(self.path.absolute().parts[-2:])

    @property
    def task(self) -> str:
        """Name of the task, as far as it is known."""
        if self.info:
            return self.info.task
        return self.path.absolute().parent.name if self.damage else ""

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        if self.damage:
            return DAMAGED
        if self.info is None:
            return UNKNOWN
        if self.info.status is Status.RUNNING and gone(self.info.pid, self.info.host):
            return LOST
        return str(self.info.status)

    @property
    def reason(self) -> str | None:
        """Why the run did not complete."""
        if self.status == LOST and self.info:
            return f"pid {self.info.pid} is gone; shoal resume {self.id}"
        return self.damage or (self.info.reason if self.info else None)

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
        if self.info.status is Status.RUNNING and gone(self.info.pid, self.info.host):
            return LOST
        return str(self.info.status)

    @property
    def reason(self) -> str | None:
        """Why sweep.json cannot be read, or that its process is gone."""
        if self.status == LOST and self.info:
            return f"pid {self.info.pid} is gone; the same command again goes on"
        return self.damage

    @property
    def dir(self) -> SweepDir:
        """The files of the sweep."""
        return SweepDir(self.path)

    def counts(self) -> Counter[str]:
        """How many jobs have which status; one without a directory is pending, or was removed after it ended."""
        counts = Counter(run.status for run in self.runs)
        there = {run.path.name for run in self.runs}
        missing = [job for job in self.info.jobs if job.run not in there] if self.info else []
        counts.update(REMOVED if job.status else PENDING for job in missing)
        return counts


Entry = RunEntry | SweepEntry


def find(paths: Iterable[Path]) -> list[Entry]:
    """Every run and sweep at or below the paths, newest first. No link below them is followed.

    Raises:
        UsageError: where a path does not exist.
    """
    found: dict[Path, Entry] = {}
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path} is not a directory", hint="name a folder of runs, for example outputs")
        found.update((entry.path, entry) for entry in _below(path, _DEPTH))
    return sorted(found.values(), key=began, reverse=True)


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
    stamp = _STAMP.match(entry.id)
    when = stamp[1] if stamp else _started(entry)
    return when, (entry.info.started if entry.info else None) or "", entry.id


def untimed(name: str) -> str:
    """An id without the time it begins with: `k3f9x2`, and of a sweep's run `k3f9x2-0003`."""
    return _STAMP.sub("", name, count=1) if _STAMP.match(name) else name


def gone(pid: int | None, host: str | None) -> bool:
    """Whether a process of this machine has ended; False where that cannot be told."""
    if pid is None or host != _host():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _host() -> str:
    return platform.node()


def _started(entry: Entry) -> str:
    started = entry.info.started if entry.info else None
    try:
        when = datetime.fromisoformat(started) if started else datetime.fromtimestamp(entry.path.stat().st_mtime)
    except (ValueError, OSError):
        return ""
    return f"{when.astimezone():%Y%m%d-%H%M%S}"


def _below(folder: Path, depth: int, content: bytes | OSError | None = None) -> Iterator[Entry]:
    """The entries at or below `folder`, whose run.json has this content (read here where it was not read before)."""
    content = content or _content(folder)
    if not isinstance(content, FileNotFoundError):
        yield _run(folder, content)
        return
    try:
        names, folders = _listed(folder)
    except OSError as error:
        yield RunEntry(folder, damage=f"the folder cannot be read: {error.strerror}")
        return
    if "sweep.json" in names:
        yield _sweep(folder, folders)
    elif ".hydra" in folders or (depth < _DEPTH and not _TRACES.isdisjoint({*names, *folders})):
        yield _without_info(folder, {*names, *folders})
    elif depth:
        for child, content in _contents(folder, folders):
            yield from _below(child, depth - 1, content)


def _contents(folder: Path, names: list[str]) -> Iterator[tuple[Path, bytes | OSError]]:
    """Each folder of these names with its run.json. Several are read at once: a cold disk is waited for in parallel."""
    folders = [folder / name for name in names if not name.startswith(".")]
    if len(folders) < _MANY:
        yield from ((child, _content(child)) for child in folders)
        return
    from concurrent.futures import ThreadPoolExecutor

    shares = [folders[start : start + _MANY] for start in range(0, len(folders), _MANY)]
    with ThreadPoolExecutor(_READERS) as readers:
        for share, contents in zip(shares, readers.map(lambda share: [*map(_content, share)], shares), strict=True):
            yield from zip(share, contents, strict=True)


def _content(folder: Path) -> bytes | OSError:
    try:
        with open(f"{folder}/run.json", "rb") as file:
            return file.read()
    except OSError as error:
        return error


def _run(folder: Path, content: bytes | OSError) -> RunEntry:
    if isinstance(content, OSError):
        return RunEntry(folder, damage=f"run.json cannot be read: {content.strerror}")
    path = folder / "run.json"
    try:
        info = decode_info(path, content)
    except DamagedError as error:
        return RunEntry(folder, damage=error.problem.replace(f"{path} is", "run.json is"))
    return RunEntry(folder, info, _cut(folder, info))


def _cut(folder: Path, info: RunInfo) -> str | None:
    """What is wrong with the length of metrics.csv, which is all that can be told without reading it."""
    sealed = info.artifacts.get(_HISTORY) if info.finished else None
    if sealed is None:
        return None
    try:
        n_bytes = os.stat(f"{folder}/{_HISTORY}").st_size
    except OSError as error:
        return f"{_HISTORY} cannot be read: {error.strerror}"
    return None if n_bytes == sealed.get("bytes") else f"{_HISTORY} has {n_bytes} of {sealed.get('bytes')} bytes"


def _without_info(folder: Path, names: set[str]) -> RunEntry:
    if _TRACES.isdisjoint(names):
        return RunEntry(folder)
    return RunEntry(folder, damage="run.json is missing: the run was killed as it began, or the file was deleted")


def _sweep(folder: Path, folders: list[str]) -> SweepEntry:
    jobs = _contents(folder, sorted(folders))
    found = [entry for child, content in jobs for entry in _below(child, 0, content)]
    runs = tuple(entry for entry in found if isinstance(entry, RunEntry))
    try:
        return SweepEntry(folder, runs, read_sweep(folder / "sweep.json"))
    except DamagedError as error:
        return SweepEntry(folder, runs, damage=str(error.problem).replace(f"{folder}/", ""))


def _listed(folder: Path) -> tuple[set[str], list[str]]:
    """Names of the files in a folder and of its folders, without links."""
    names, folders = set(), []
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                folders.append(item.name)
            else:
                names.add(item.name)
    return names, folders
