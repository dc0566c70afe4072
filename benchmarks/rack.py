"""What faults happen to, where and how often, and what is written down of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from shoal.app.start import start

RUN = [
    "task.n_samples=50",
    "task.batch_size=8",
    "model.hidden=[6]",
    "model.dropout=0.2",
    "trainer.max_epochs=16",
    "trainer.gradient_clip_val=0.5",
    "scheduler=cosine",
    "callbacks=early_stopping",
    "callbacks.progress=null",
    "callbacks.checkpoint.every_n_train_steps=3",
]
STACKED = [*RUN[:-1], "engine=vectorized", "callbacks.checkpoint.every_seconds=0", "trainer.max_epochs=4"]


@dataclass(frozen=True)
class Row:
    """What was done, how often, what came of it, and what should."""

    fault: str
    trials: int
    result: str
    goal: str


@dataclass(frozen=True)
class Rack:
    """Where the trials are made, and how many."""

    disk: Path
    memory: Path
    scale: float
    seed: int

    def n(self, trials: int) -> int:
        """So many trials, at this scale."""
        return max(1, round(trials * self.scale))

    @property
    def chance(self) -> random.Random:
        """Numbers by chance, the same in every run with this seed."""
        return random.Random(self.seed)


def train(path: Path, words: list[str] = RUN) -> None:
    """The run that everything happens to."""
    start([*words, f"hydra.run.dir={path}"])
