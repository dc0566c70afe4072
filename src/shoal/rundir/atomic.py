"""Writing a file so that a reader, or a crash at any moment, sees the old content or the new and nothing between."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from shoal.errors import ShoalError

FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What the system says when there is no more room."""
SUFFIX = ".partial"
"""Ending of the temporary file beside its target; one left by a crash is overwritten by the next write."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends without an exception.

    Raises:
        ShoalError: where the file cannot be written; `path` then holds what it held before.
    """
    partial = path.with_name(f".{path.name}{SUFFIX}")
    needed = 0
    try:
        path.parent.mkdir(exist_ok=True)  # no more than that: a run whose directory was deleted must not go on
        with partial.open("wb") as file:
            yield file
            needed = file.tell()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
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
        raise UnwritableError(path, error.reason, len(content)) from error


def write_text(path: Path, text: str) -> None:
    """Put `text`, as UTF-8, in the place of `path`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Put `value`, as JSON a person can read, in the place of `path`; nan and inf become strings."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def share(path: Path, other: Path) -> None:
    """Make `other` hold what `path` holds now, without writing it again where the file system can link."""
    partial = other.with_name(f".{other.name}{SUFFIX}")
    try:
        partial.unlink(missing_ok=True)
        os.link(path, partial)
        partial.replace(other)
        sync_folder(other.parent)
    except OSError:  # a file system without links, or one that is gone
        copy(path, other)


def copy(path: Path, other: Path) -> None:
    """Make `other` hold what `path` holds now, in a file of its own: damage to one spares the other."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unwritable(other, error) from error
    write_bytes(other, content)


def append(path: Path, content: bytes) -> int:
    """Put `content` at the end of `path`, which exists; how long it is then. `sync` makes it last.

    Raises:
        ShoalError: where it cannot be written.
    """
    try:
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
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(path, error.strerror or str(error)) from error


def sync(path: Path) -> None:
    """Make what was appended to `path` survive a crash of the machine.

    Raises:
        ShoalError: where the system cannot.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class UnwritableError(ShoalError):
    """A file cannot be written: its path, the reason, what it needs and the space left on its disk."""

    def __init__(self, path: Path, reason: str, needed: int = 0) -> None:
        self.path = path
        self.reason = reason
        size = f"it needs {needed:,} bytes, " if needed else ""
        full = reason in FULL
        hint = f"{size}{_free(path):,} bytes are free there" if full else "another place: outputs=FOLDER"
        super().__init__(f"cannot write {path}: {reason}", hint=hint)


def unwritable(path: Path, error: OSError, needed: int = 0) -> UnwritableError:
    """The error for a file that the system does not let us write; `needed` is its size where that is known."""
    return UnwritableError(path, error.strerror or str(error), needed)


def _free(path: Path) -> int:
    """Bytes left for us on the disk where `path` would lie."""
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    return shutil.disk_usage(folder).free


def _remove(partial: Path) -> None:
    """Take away what was begun; where even that fails, the next write takes its place."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    """`value` with every number that JSON has no word for as its name: "nan", "inf" or "-inf"."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
