"""Removing runs, sweeps and checkpoints: only inside the root, through no link, and nothing that is in use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shoal.errors import DamagedError, UsageError
from shoal.review.entries import Entry, RunEntry, SweepEntry
from shoal.review.values import main_metric, metric_of, ranked, rises
from shoal.review.wording import printable
from shoal.rundir import Status, claim, read_info, write_info
from shoal.rundir.layout import RunDir

_REMOVING = ".removing-"
"""A folder is renamed to this before its files go, so that what a crash leaves is no run."""


@dataclass(frozen=True)
class Removal:
    """One thing to remove: a run, a sweep, or the checkpoints of a run."""

    entry: Entry
    root: Path
    checkpoints_only: bool = False

    @property
    def files(self) -> list[Path]:
        """The files that will go."""
        if self.checkpoints_only:
            return checkpoints(self.entry.path)
        return [Path(folder, name) for folder, _, names in os.walk(self.entry.path) for name in names]

    def size(self) -> int:
        """Bytes that removing it frees; a file with two names counts once."""
        seen: dict[tuple[int, int], int] = {}
        for file in self.files:
            try:
                status = file.lstat()
            except OSError:
                continue
            # By its inode: runs of a sweep share the patch by links.
            seen[status.st_dev, status.st_ino] = status.st_size
        return sum(seen.values())

    def check(self) -> None:
        """Refuse what must not be removed.

        Raises:
            UsageError: where it lies outside the root, is the root, or is reached through a link.
        """
        path, root = self.entry.path.absolute(), self.root.resolve()
        if not path.resolve().is_relative_to(root) or path.resolve() == root:
            raise UsageError(f"{path} is not inside {root}", hint="--root names the folder that holds it")
        # Through a link in its last part other files would go than those that are shown.
        if path.resolve() != path.parent.resolve() / path.name:
            raise UsageError(f"{path} is a link", hint="remove the link itself with rm")
        if isinstance(self.entry, RunEntry) and self.entry.info is None and not self.entry.damage:
            raise UsageError(f"{path} is another program's run, not shoal's", hint="remove it with rm -r")

    def carry_out(self) -> None:
        """Remove it.

        Raises:
            UsageError: where it is in use, or must not be removed.
        """
        self.check()
        with _unused(self.entry):
            if self.checkpoints_only:
                _drop_checkpoints(self.entry.path)
            else:
                _remove_folder(self.entry.path)


def checkpoints(path: Path) -> list[Path]:
    """The checkpoints of a run."""
    folder = RunDir(path).checkpoints
    return [] if folder.is_symlink() else sorted(folder.glob("*.ckpt"))


def worst(entries: Sequence[RunEntry], *, keep: int, metric: str | None) -> list[RunEntry]:
    """The completed runs of each task but the `keep` best by the metric, or by the one they monitored.

    One that has come to nan or infinity is worse than any other; one that never measured the metric is kept.

    Raises:
        UsageError: where no run has the metric.
    """
    found: list[RunEntry] = []
    completed = [run for run in entries if run.status == Status.COMPLETED]
    for task in dict.fromkeys(run.task for run in completed):
        of_task = [run for run in completed if run.task == task]
        name = metric or main_metric(of_task)
        if name is None or not ranked(of_task, name):
            raise UsageError(f"no completed run of {printable(task)} has a finite {name or 'metric'}")
        best = ranked(of_task, name)
        found += best[keep:]
        # Those without a finite value are no better than any.
        found += [run for run in of_task if run not in best and metric_of(run, name) is not None]
    return found


def ranking(entries: Sequence[RunEntry], metric: str | None) -> str:
    """`the smallest val/loss`, for the question before runs are removed."""
    name = metric or main_metric(entries)
    return f"the {'largest' if name and rises(name, entries) else 'smallest'} {name}"


@contextmanager
def _unused(entry: Entry) -> Iterator[None]:
    """Hold the locks of an entry, and those of the sweep around it, while it is removed."""
    if entry.status == Status.RUNNING and entry.info:
        owner = f"pid {entry.info.pid} on {entry.info.host}"
        raise UsageError(f"{entry.path} is in use by {owner}", hint="wait for it to end, or stop it")
    folders = [entry.path, *(run.path for run in entry.runs)] if isinstance(entry, SweepEntry) else [entry.path]
    if (entry.path.parent / "sweep.json").exists():
        # The sweep around it may be about to go on with this very run.
        folders.append(entry.path.parent)
    with ExitStack() as held:
        for folder in folders:
            lock = RunDir(folder).lock
            if lock.is_symlink():
                raise UsageError(f"{lock} is a link", hint="a lock is a file; look at it before removing the run")
            # To take a lock is to make its file, also where nobody ever trained.
            if lock.exists():
                held.enter_context(claim(RunDir(folder)))
        yield


def _remove_folder(path: Path) -> None:
    # In the same folder: to rename it onto another file system would be to copy it.
    doomed = path.with_name(_REMOVING + path.name)
    try:
        # In one step, so that whoever lists runs meanwhile sees a whole one or none.
        path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise UsageError(f"cannot remove {path}: {error.strerror}") from error


def _drop_checkpoints(path: Path) -> None:
    """Remove the checkpoints, and first what run.json says of them: a missing file must not look like damage."""
    run = RunDir(path)
    files = checkpoints(path)
    gone = {file.relative_to(path).as_posix() for file in files}
    try:
        info = read_info(run.info)
        write_info(run.info, replace(info, artifacts={k: v for k, v in info.artifacts.items() if k not in gone}))
        for file in files:
            file.unlink()
    except DamagedError as error:
        raise UsageError(f"{error.problem}; its checkpoints may be all that is left of it") from error
    except OSError as error:
        raise UsageError(f"cannot remove the checkpoints of {path}: {error.strerror}") from error


def removals(entries: Iterable[Entry], root: Path, *, checkpoints_only: bool = False) -> list[Removal]:
    """The removals, all of them checked before the first is carried out.

    Raises:
        UsageError: where one of them must not be removed.
    """
    found = []
    for entry in entries:
        targets: tuple[Entry, ...] = entry.runs if checkpoints_only and isinstance(entry, SweepEntry) else (entry,)
        found += [Removal(target, root, checkpoints_only) for target in targets]
    found = [removal for removal in found if not checkpoints_only or removal.files]
    # All of them, before the first goes: a refusal in the middle would leave half.
    for removal in found:
        removal.check()
    return found
