"""Bringing files to the disk: what is there survives a crash of the machine, as far as its file system can."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What the system says of a folder that cannot be synced: on a network drive, or in user space."""
SYNCS = 16
"""How many files the system is asked at a time to bring to the disk: it does these together."""

log = logging.getLogger("shoal")
_unsynced: set[int] = set()
"""Devices of which it has been said that their folders are not brought to the disk."""


def fsync(path: Path) -> None:
    """Make a file's content survive a crash of the machine."""
    # For reading: a folder can be opened no other way, and to be synced it need not be.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder survive a crash of the machine; some file systems have no way to, and need none."""
    try:
        fsync(path)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _tell_unsynced(path, error)


def _tell_unsynced(path: Path, error: OSError) -> None:
    """Say once of each file system that only the content of files is synced there."""
    device = path.stat().st_dev
    if device in _unsynced:
        return
    _unsynced.add(device)
    text = f"{path}: this file system syncs no folder ({error.strerror}), only the files in it"
    if log.hasHandlers():  # a command that keeps no log would print it twice
        log.warning("%s: after a power failure the newest of them may be missing", text)
    print(f"warning: {text}", file=sys.stderr)


def fsync_all(paths: Iterable[Path], by: Callable[[Path], None] = fsync) -> dict[Path, OSError]:
    """Bring many to the disk at once, each `by` this function; what went wrong with which."""

    def attempt(path: Path) -> OSError | None:
        try:
            by(path)
        except OSError as error:
            return error
        return None

    asked = list(paths)
    # Threads do: while the system writes, none of them holds Python's lock.
    with ThreadPoolExecutor(SYNCS) as pool:
        found = zip(asked, pool.map(attempt, asked), strict=True)
        return {path: error for path, error in found if error}
