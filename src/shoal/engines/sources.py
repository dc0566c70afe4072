"""What the runs of a stack get their batches from: samples in memory, or data loaders of a user's own."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.utils.data import SequentialSampler

from shoal.engines.sampled import NotGatherableError, Sampled
from shoal.engines.streamed import Streamed, transfers
from shoal.seeding import generators_restored, seed_global
from shoal.tasks import Batches
from shoal.tasks.data_hooks import loaders

Source = Batches | Sampled | Streamed


Limits = tuple[float | int | None, float | int | None]
"""Of the batches for training and for validation, as a Trainer has them."""


def sources(
    module: pl.LightningModule,
    datamodule: pl.LightningDataModule | None,
    seed: int,
    *,
    double: bool,
    limits: Limits = (None, None),
) -> tuple[Source, Source | None]:
    """The batches for training and for validation of what a module or a DataModule gives.

    Raises:
        NotGatherableError: where a stack cannot have them.
    """
    source: Any = datamodule or module
    if datamodule is None and is_overridden("setup", module):
        raise NotGatherableError(f"{type(source).__name__} has its own setup")
    with generators_restored():
        seed_global(seed)
        train, val = loaders(module, datamodule)
        for_training = _for_training(train, seed, source, double=double, limit=limits[0])
        if val is None or (isinstance(val, list) and not val):
            return for_training, None
        if isinstance(val, list | tuple) and len(val) == 1:
            [val] = val
        if isinstance(val, list | tuple | dict | CombinedLoader):
            raise NotGatherableError("it has several data loaders for validation")
        if not transfers(source) and isinstance(getattr(val, "sampler", None), SequentialSampler):
            try:
                return for_training, Sampled(val, seed, double=double)
            except NotGatherableError:
                pass
        return for_training, Streamed(val, seed, source, double=double, limit=limits[1], after=for_training)


def _for_training(given: Any, seed: int, source: Any, *, double: bool, limit: float | int | None) -> Sampled | Streamed:
    if not isinstance(given, list | tuple | dict) and not transfers(source):
        try:
            return Sampled(given, seed, double=double)
        except NotGatherableError:
            pass
    return Streamed(given, seed, source, double=double, limit=limit)
