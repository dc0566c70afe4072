"""What a run pays for never losing anything: the time in fsync, in digests, in locks and in second copies."""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from filelock import FileLock

from faults import in_child
from shoal.app.start import start
from shoal.record.checkpoints import kept_states

RUN = ["task=parabola", "callbacks.progress=null"]


class _Clock:
    """Adds up the time spent in the functions that it watches; one within another counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside = True
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began
                self._inside = False

        return call

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Watch everything that is there for integrity alone."""
        watched = [
            (os, "fsync"),
            (hashlib, "sha256"),
            (hashlib, "file_digest"),
            (kept_states, "copy"),
            (FileLock, "acquire"),
            (FileLock, "release"),
        ]
        with contextlib.ExitStack() as patches:
            for place, name in watched:
                patches.enter_context(mock.patch.object(place, name, self.watched(getattr(place, name))))
            yield


def share_of_integrity(folder: Path, n: int) -> float:
    """The median share over `n` runs of the parabola, without their imports."""
    folder.mkdir(parents=True)
    start([*RUN, "trainer.max_epochs=2", f"hydra.run.dir={folder / 'first'}"])

    def measured(number: int) -> None:
        clock = _Clock()
        began = time.perf_counter()
        with clock.running():
            start([*RUN, f"hydra.run.dir={folder / str(number)}"])
        (folder / f"{number}.share").write_text(str(clock.seconds / (time.perf_counter() - began)))

    shares = []
    for number in range(n):
        in_child(lambda number=number: measured(number))
        shares.append(float((folder / f"{number}.share").read_text()))
    return statistics.median(shares)
