"""Tells loggers and callbacks the metrics of an epoch, as `self.log` does within a step."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch

from shoal.names import EPOCH


def announce(trainer: pl.Trainer, values: Mapping[str, float]) -> None:
    """Tell loggers and callbacks numbers of an epoch, as they are.

    Lightning's own `log` rounds them to float32 and costs a tenth of a millisecond each.
    """
    trainer.callback_metrics.update({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})
    for logger in trainer.loggers:
        # With the epoch, as Lightning's own connector adds it to what it logs.
        logger.log_metrics({EPOCH: trainer.current_epoch, **values}, step=trainer.global_step)
