"""What is known at the ends of epochs that Lightning would tell too late for callbacks, or drop."""

from __future__ import annotations

import pytorch_lightning as pl

from shoal.errors import warn
from shoal.tasks import Supervised
from shoal.tasks.announce import announce


class EpochEnds(pl.Callback):
    """Stands before all other callbacks: Lightning calls theirs at the ends of epochs, and then the module's."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell what the validation came to."""
        if isinstance(pl_module, Supervised):
            pl_module.tell_judged("val")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell what the training came to."""
        if isinstance(pl_module, Supervised):
            pl_module.tell_means("train")


class LastSteps(pl.Callback):
    """Tells loggers what a module logs step by step only: the values of an epoch's last step.

    Lightning would drop them, there being no rows within an epoch unless they are asked for.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log them beside the means of the epoch."""
        results = trainer._results
        kept = [item.meta for _, item in results.valid_items()] if results is not None else []
        names = sorted({meta.name for meta in kept if meta.logger and meta.on_step and not meta.on_epoch})
        known = trainer.callback_metrics
        announce(trainer, {name: float(known[name]) for name in names if name in known})
        for name in set(names) - {*known, *self._told}:
            self._told.add(name)
            warn(f"self.log({name!r}) logs nothing: the metric has no value of a batch; on_epoch=True logs the epoch's")
