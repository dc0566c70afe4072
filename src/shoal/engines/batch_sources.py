"""What the runs of a stack get their batches from: samples in memory, or data loaders of a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils import _pytree as pytree
from torch.utils.data import SequentialSampler

from shoal.engines.fixed_samples import NotGatherableError
from shoal.engines.generators import module_in
from shoal.engines.sampled import Sampled
from shoal.engines.streamed import Streamed, asked, begin, transfers
from shoal.seeding import generators_restored, seed_global
from shoal.tasks import Batches
from shoal.tasks.asked_trainer import NotKnownError
from shoal.tasks.data_hooks import loaders

Source = Batches | Sampled | Streamed


Limits = tuple[float | int | None, float | int | None]
"""Of the batches for training and for validation, as a Trainer has them."""


def batch_sources(
    module: pl.LightningModule,
    datamodule: pl.LightningDataModule | None,
    seed: int,
    *,
    double: bool,
    limits: Limits = (None, None),
) -> tuple[Source, Sequence[Source]]:
    """The batches for training, and for validation those of each data loader, of what a module or a DataModule gives.

    Raises:
        NotGatherableError: where a stack cannot have them.
    """
    source: Any = datamodule or module
    with generators_restored():
        # Making data loaders may draw, as a random split does.
        seed_global(seed)
        train, val = loaders(module, datamodule, begin)
        held = module_in([train, val])
        if held is not None:
            raise NotGatherableError(f"they hold {type(held).__name__} itself, which changes while it trains")
        try:
            for_training = _for_training(train, seed, source, double=double, limit=limits[0])
            return for_training, _for_validation(val, seed, source, double=double, limit=limits[1], after=for_training)
        except NotKnownError as error:
            raise NotGatherableError(str(error)) from error


def _for_training(given: Any, seed: int, source: Any, *, double: bool, limit: float | int | None) -> Sampled | Streamed:
    if not isinstance(given, list | tuple | dict) and not transfers(source):
        try:
            return Sampled(given, seed, double=double, trainer=asked(source))
        # Samples that are not fixed are drawn for each run, as Lightning draws them.
        except NotGatherableError:
            pass
    return Streamed(given, seed, source, double=double, limit=limit)


def _for_validation(
    given: Any, seed: int, source: Any, *, double: bool, limit: float | int | None, after: Sampled | Streamed
) -> Sequence[Source]:
    """Those of each data loader, which Lightning goes through one after the other."""
    every = _each(given)
    # Any other order is drawn from where the epoch's training has left the generators.
    if not transfers(source) and all(isinstance(getattr(one, "sampler", None), SequentialSampler) for one in every):
        with suppress(NotGatherableError):
            return [Sampled(one, seed, double=double, trainer=asked(source)) for one in every]
    found: list[Source] = []
    for place, one in enumerate(every):
        after = Streamed(one, seed, source, double=double, limit=limit, after=after, place=place)
        found.append(after)
    return found


def _each(given: Any) -> list[Any]:
    """The data loaders for validation; several that are to be gone through side by side are one."""
    if isinstance(given, CombinedLoader):
        return list(given.flattened) if given._mode == "sequential" else [given]
    return [] if given is None else list(pytree.tree_leaves(given))
