"""Taking part in the training of another process: every process but the first of those that train one run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning.loggers.logger import DummyLogger

from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.position import Position
from shoal.record.checkpoints.checkpoint import Checkpoint
from shoal.record.checkpoints.checkpoint_file import EXTRA, SealedIO, load
from shoal.record.progress import Progress
from shoal.signals import unheard

PATIENCE = 3.0
"""Seconds in which the first process ends, if it was that which broke off the training."""


def assist(job: Job, *, checkpoint: Path | None = None, before: Job | None = None) -> None:
    """Train `job` from the state in `checkpoint`, and leave the record to the first process.

    `before` is the job that this state was saved by, where it was another one.
    """
    state = load(checkpoint) if checkpoint else None
    module = job.module()
    with _following():
        lightning.fit(
            job,
            module,
            # The first process writes and shows: these two would do it once for each process.
            callbacks=[each for each in job.callbacks.values() if not isinstance(each, Checkpoint | Progress)],
            loggers=[DummyLogger()],
            io=SealedIO(module),
            checkpoint=checkpoint,
            start=Position(*state[EXTRA]["position"]) if state else None,
            before=before,
            over=state is not None and state[EXTRA]["over"] is not None,
        )


@contextmanager
def _following() -> Iterator[None]:
    """Let the first process decide when to stop: signals are for it, and this one ends with it, without a word."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    with unheard():
        try:
            yield
        except Exception:  # it may be that the first process was stopped, and answers no more
            time.sleep(PATIENCE)
            raise


def _end_with(parent: int) -> None:
    """End this process when the one that started it has ended."""
    # No signal of every system tells of a parent's end; an orphan is given another parent.
    while os.getppid() == parent:
        time.sleep(0.1)
    # The main thread may wait for the other processes within one call, which nothing gentler ends.
    os._exit(1)
