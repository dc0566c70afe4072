"""A file that one process has for itself: the lock is the system's, and ends with the process however that ends."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import IO, Any


def locked(file: IO[Any], *, wait: bool) -> bool:
    """Whether this process has the open file now, until it is closed; with `wait` as soon as nobody else has it.

    Raises:
        OSError: where the file system has no locks.
    """
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
