"""Writing a file so that a reader, or a crash at any moment, sees the old content or the new and nothing between."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from shoal.errors import ShoalError
from shoal.rundir.json_text import json_text
from shoal.rundir.lease import ensure, place
from shoal.rundir.syncing import fsync, fsync_all, fsync_folder

FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What the system says when there is no more room."""
TOO_MANY = tuple(os.strerror(number) for number in (errno.EMFILE, errno.ENFILE))
"""What it says when too many files are open."""
BROKEN = tuple(os.strerror(number) for number in (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV))
"""What it says of a disk that can no longer be written."""
SUFFIX = ".partial"
"""Ending of the temporary file beside its target; one left by a crash is overwritten by the next write."""


class _Together:
    """Files that are written, and wait to be put in place."""

    def __init__(self) -> None:
        self.partials: dict[Path, Path] = {}
        """The temporary file of each target."""
        self.appended: set[Path] = set()

    def settle(self, path: Path) -> None:
        """Put one file in place now: it is about to be read or appended to."""
        if path in self.partials:
            partial = self.partials.pop(path)
            fsync(partial)
            place(partial, path)
            fsync_folder(path.parent)

    def close(self) -> None:
        """Bring everything to the disk, and only then give it its name; what fails keeps what it was before.

        Raises:
            ShoalError: for the first that failed, once all the others are in place.
        """
        errors = fsync_all([*self.partials.values(), *self.appended])
        for path, partial in self.partials.items():
            try:
                if partial in errors:
                    raise errors.pop(partial)
                place(partial, path)
            except OSError as error:
                _remove(partial)
                errors[path] = error
        # A new name lasts once its folder is synced: once for all the files that came into it.
        errors |= fsync_all({path.parent for path in self.partials if path not in errors}, fsync_folder)
        for path, problem in errors.items():
            raise unwritable(path, problem) from problem


_together: ContextVar[_Together | None] = ContextVar("together", default=None)


@contextmanager
def together() -> Iterator[None]:
    """Let the files that are written in the block be put in place at its end, all at once.

    The system takes as long to bring one file to the disk as to bring fifty. Until the end readers see the old
    content; what was written before an exception is put in place too.

    Raises:
        ShoalError: where one of them cannot be written.
    """
    waiting = _Together()
    before = _together.set(waiting)
    try:
        yield
    finally:
        _together.reset(before)
        waiting.close()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends without an exception.

    Raises:
        ShoalError: where the file cannot be written; `path` then holds what it held before.
    """
    ensure()
    # Beside its target: only within one file system does a rename take the place of a file at once.
    partial = path.with_name(f".{path.name}{SUFFIX}")
    needed, waiting = 0, _together.get()
    if waiting is not None:
        # Its temporary file is the one below: were this write to fail, half of it would be put in place at the end.
        waiting.partials.pop(path, None)
    try:
        path.parent.mkdir(exist_ok=True)  # no more than that: a run whose directory was deleted must not go on
        with partial.open("wb") as file:
            yield file
            # Before the flush, which may be what finds the disk full: the error then says how much room is wanted.
            needed = file.tell()
            file.flush()
            if waiting is None:
                os.fsync(file.fileno())
        if waiting is not None:
            waiting.partials[path] = partial
        else:
            place(partial, path)
            fsync_folder(path.parent)
    except OSError as error:
        _remove(partial)
        raise unwritable(path, error, needed) from error
    except BaseException:
        _remove(partial)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`."""
    try:
        with replacing(path) as file:
            file.write(content)
    except UnwritableError as error:
        # A write that fails has not come to the size; here it is known.
        raise UnwritableError(path, error.reason, len(content)) from error


def write_text(path: Path, text: str) -> None:
    """Put `text`, as UTF-8, in the place of `path`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Put `value`, as JSON a person can read, in the place of `path`; nan and inf become strings."""
    write_text(path, json_text(value, indent=2) + "\n")


def share(path: Path, other: Path) -> None:
    """Make `other` hold what `path` holds now, without writing it again where the file system can link."""
    partial = other.with_name(f".{other.name}{SUFFIX}")
    # A link leads to what lies there now, not to what still waits for the place.
    _settle(path, other)
    try:
        # What a crash may have left: a link takes no file's place, as a rename does.
        partial.unlink(missing_ok=True)
        os.link(path, partial)
        place(partial, other)
        fsync_folder(other.parent)
    except OSError:  # a file system without links, or one that is gone
        copy(path, other)


def copy(path: Path, other: Path) -> None:
    """Make `other` hold what `path` holds now, in a file of its own: damage to one spares the other."""
    waiting = _together.get()
    try:
        content = (waiting.partials.get(path, path) if waiting else path).read_bytes()
    except OSError as error:
        raise unwritable(other, error) from error
    write_bytes(other, content)


def append(path: Path, content: bytes) -> int:
    """Put `content` at the end of `path`, which exists; how long it is then. `sync` makes it last.

    Raises:
        ShoalError: where it cannot be written.
    """
    _settle(path)
    ensure()
    try:
        # Not "ab", which would make a file anew where somebody has deleted the run.
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(content)
            return file.tell()
    except OSError as error:
        raise unwritable(path, error, len(content)) from error


def remove(path: Path) -> None:
    """Take a file away, if it is there.

    Raises:
        ShoalError: where the system does not let us.
    """
    ensure()
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(path, error.strerror or str(error)) from error


def sync(path: Path) -> None:
    """Make what was appended to `path` survive a crash of the machine.

    Raises:
        ShoalError: where the system cannot.
    """
    waiting = _together.get()
    if waiting is not None:
        waiting.appended.add(path)
        return
    try:
        fsync(path)
    except OSError as error:
        raise unwritable(path, error) from error


class UnwritableError(ShoalError):
    """A file cannot be written: its path, the reason, what it needs and the space left on its disk."""

    def __init__(self, path: Path, reason: str, needed: int = 0) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot write {path}: {reason}", hint=self._way_out(needed))

    @property
    def everywhere(self) -> bool:
        """Whether other files fare no better: it is the disk or the process, not this file or its folder."""
        return self.reason in FULL + TOO_MANY + BROKEN

    def _way_out(self, needed: int) -> str:
        if self.reason in TOO_MANY:
            return "allow more open files (ulimit -n 4096), or make the stacks of a sweep smaller: sweep.block=16"
        size = f"it needs {needed:,} bytes, " if needed else ""
        full = self.reason in FULL
        return f"{size}{_free(self.path):,} bytes are free there" if full else "another place: outputs=FOLDER"


def unwritable(path: Path, error: OSError, needed: int = 0) -> UnwritableError:
    """The error for a file that the system does not let us write; `needed` is its size where that is known."""
    return UnwritableError(path, error.strerror or str(error), needed)


def _free(path: Path) -> int:
    """Bytes left for us on the disk where `path` would lie."""
    # The nearest there is: the file's own folder may be what could not be made.
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    return shutil.disk_usage(folder).free


def _settle(*paths: Path) -> None:
    """Put files in place that wait for it in `together`, before they are looked at."""
    waiting = _together.get()
    if waiting is not None:
        for path in paths:
            waiting.settle(path)


def _remove(partial: Path) -> None:
    """Take away what was begun; where even that fails, the next write takes its place."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)
