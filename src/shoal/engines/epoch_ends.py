"""Has what a run measured in an epoch known before callbacks are asked, as what a step of Lightning's logs is."""

from __future__ import annotations

import pytorch_lightning as pl

from shoal.tasks import Supervised


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
