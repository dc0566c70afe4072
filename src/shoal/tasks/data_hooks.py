"""The hooks by which a LightningModule and its DataModule give data, called in the order in which a Trainer does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.model_helpers import is_overridden

from shoal.tasks.asked_trainer import AskedTrainer


def loaders(
    module: pl.LightningModule,
    datamodule: pl.LightningDataModule | None,
    begin: Callable[[Any], None] = lambda train: None,
) -> tuple[Any, Any]:
    """What they give for training and for validation; None for what they do not have.

    A Trainer begins to iterate over the first before it asks for the second: `begin` does.
    """
    prepare(module, datamodule)
    source: Any = module if datamodule is None else datamodule
    train = source.train_dataloader()
    begin(train)
    return train, source.val_dataloader() if is_overridden("val_dataloader", source) else None


def prepare(module: pl.LightningModule, datamodule: pl.LightningDataModule | None) -> None:
    """Prepare the data and set both up for a training, with a Trainer that they can ask, though it trains nothing."""
    trainer = AskedTrainer.made()
    both = [each for each in (datamodule, module) if each is not None]
    # It is from its strategy that a Trainer knows the module, which hooks may ask it for.
    trainer.strategy.connect(module)
    # Privately, as no public call sets up data without a training.
    trainer._data_connector.attach_data(module, datamodule=datamodule)
    # Both are asked for one hook before the next, the DataModule first, as a Trainer does.
    for hook, *given in (("prepare_data",), ("setup", TrainerFn.FITTING)):
        for each in both:
            if is_overridden(hook, each):
                getattr(each, hook)(*given)
