"""A callback that takes its time, so that a signal finds a step that does not end."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

SECONDS = 5.0
"""How long it takes."""


class Slow(pl.Callback):
    """Takes its time over the fourth step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Wait."""
        if trainer.global_step == 4:
            print("slow", flush=True)
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                time.sleep(0.01)
