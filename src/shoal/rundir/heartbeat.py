"""Whether the process of a run or a sweep lives, told by a file it touches, by the clock of the file system.

The clocks of two machines differ; those of one file system's times do not, whoever reads them.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 15.0
"""Between two beats."""
MISSED = 12
"""Beats that fail to come before the process is taken for gone: a network drive may show the last ones late."""


@contextmanager
def beating(path: Path) -> Iterator[None]:
    """Touch the file now and then meanwhile, in a thread: a long wait for a worker is no end."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(SECONDS):
            with suppress(OSError):  # what is wrong with the disk, the next write tells
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stopped(path: Path, beats: float) -> bool:
    """Whether a file that should be touched every `beats` seconds is not any more; False where nobody can tell."""
    try:
        # A new file is stamped by the clock that has stamped the other: on a network drive that of its server.
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            now = os.fstat(probe.fileno()).st_mtime
        with path.open("rb") as file:  # opened, since a network drive may answer `stat` from memory
            return now - os.fstat(file.fileno()).st_mtime > MISSED * beats
    except OSError:
        return False
