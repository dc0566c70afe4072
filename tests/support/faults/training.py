"""A small run for faults to happen to, and waiting for the moment at which they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from shoal.app.start import start
from shoal.cli import train as main
from shoal.rundir import RunDir

SMALL = ["task.n_samples=50", "task.batch_size=8", "model.hidden=[6]", "trainer.max_epochs=3", "callbacks=quiet"]
OFTEN = ["callbacks.checkpoint.every_n_train_steps=2"]
LONG = ["trainer.max_epochs=100000"]


def train(path: Path, *words: str) -> RunDir:
    """Train it there."""
    start([*SMALL, *words, f"hydra.run.dir={path}"])
    return RunDir(path)


def typed(path: Path, *words: str) -> Callable[[], int]:
    """The command line that trains it there, for a copy of this process."""
    return lambda: main([*SMALL, *words, f"hydra.run.dir={path}"])


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something to happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)
