"""What the runs of a stack get their batches from: samples in memory, or data loaders of a user's own."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.utils.data import SequentialSampler

from shoal.engines.sampled import NotGatherableError, Sampled
from shoal.engines.streamed import Streamed, transfers
from shoal.seeding import generators_restored, seed_global
from shoal.tasks import Batches
from shoal.tasks.data_hooks import loaders

Source = Batches | Sampled | Streamed


def sources(
    module: pl.LightningModule, datamodule: pl.LightningDataModule | None, seed: int, *, double: bool
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
        if val is None or (isinstance(val, list) and not val):
            return _source(train, seed, source, double=double, trains=True), None
        if isinstance(val, list | tuple) and len(val) == 1:
            [val] = val
        if isinstance(val, list | tuple | dict):
            raise NotGatherableError("it has several data loaders for validation")
        return (
            _source(train, seed, source, double=double, trains=True),
            _source(val, seed, source, double=double, trains=False),
        )


def _source(given: Any, seed: int, source: Any, *, double: bool, trains: bool) -> Sampled | Streamed:
    streamed = isinstance(given, list | tuple | dict) or transfers(source)
    if not streamed and (trains or isinstance(getattr(given, "sampler", None), SequentialSampler)):
        try:
            return Sampled(given, seed, double=double)
        except NotGatherableError:
            pass
    return Streamed(given, seed, source, double=double, trains=trains)
