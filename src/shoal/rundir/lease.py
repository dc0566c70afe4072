"""A lease: a file that is there as long as what a process writes is wanted.

A worker that its launcher has given up may live: behind a network that was cut, or frozen with its machine. Its lease
was taken away, so that it puts no further file in place, and ends.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GONE = (errno.ENOENT, errno.ESTALE)
"""What the system says of a file that was taken away; anything else may pass."""
SECONDS = 5.0
"""How often it is looked after where nothing is written."""

_held: Path | None = None
"""The lease of this process."""


@contextmanager
def holding(lease: Path | None) -> Iterator[None]:
    """Write under this lease; under none, nobody can take the right to write away."""
    # Of the process and not of a context: the thread that looks after the lease must see it, too.
    global _held
    before, _held = _held, lease
    try:
        yield
    finally:
        _held = before


def ensure() -> None:
    """End the process, as it is, where its lease was taken away: another one has its work."""
    # Read once: it may be let go while another thread looks.
    lease = _held
    if lease is not None and _was_taken(lease):
        # Not sys.exit: in a thread it ends the thread alone, and in the main one cleaning up would write again.
        os._exit(1)


def place(partial: Path, path: Path) -> None:
    """Give a file that is written its name, as long as that is wanted."""
    ensure()
    partial.replace(path)


def watch() -> None:
    """Look after the lease for good: for a thread of its own."""
    while True:
        time.sleep(SECONDS)
        ensure()


def _was_taken(lease: Path) -> bool:
    try:
        os.close(os.open(lease, os.O_RDONLY))  # opened, since a network drive may answer `stat` from memory
    except OSError as error:
        return error.errno in GONE
    return False
