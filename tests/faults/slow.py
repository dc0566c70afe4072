"""A callback that takes its time, so that a signal finds a step that does not end."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl


class Slow(pl.Callback):
    """Takes five seconds over the fourth step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Wait."""
        if trainer.global_step == 4:
            for _ in range(500):
                time.sleep(0.01)
