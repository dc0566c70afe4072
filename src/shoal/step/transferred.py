"""A batch on its way from a data loader to a step: the hooks of the module itself, which Lightning calls in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.unfit import CannotStackError

_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def own_hooks(module: pl.LightningModule) -> tuple[str, ...]:
    """Those that the module has and its DataModule has not, which is made for this question."""
    return tuple(name for name in _HOOKS if is_overridden(name, module) and not _has_its_own(module, name))


def transferred(module: pl.LightningModule, hooks: Iterable[str], batch: Any, loader: int) -> Any:
    """The batch as these hooks of the module leave it.

    Raises:
        CannotStackError: where it has another number of samples then: a stack has counted them before.
    """
    found = batch
    for name in hooks:
        device = [module.device] if name == "transfer_batch_to_device" else []
        found = getattr(module, name)(found, *device, loader)
    if found is not batch and n_samples(found) != n_samples(batch):
        raise CannotStackError(
            "has a hook that gives a batch of another number of samples", "a data set or a step can leave some out"
        )
    return found


def n_samples(batch: Any) -> int:
    """The length of the first tensor in a batch, as Lightning counts samples."""
    tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0]
    return len(tensors[0]) if tensors else 1


def forms_of(batch: Any) -> tuple[Any, ...]:
    """The shapes and types of the tensors in a batch."""
    return tuple((each.shape, each.dtype) for each in pytree.tree_leaves(batch) if isinstance(each, Tensor))


def _has_its_own(module: pl.LightningModule, hook: str) -> bool:
    """Whether the run's DataModule has this hook: then that alone is called, as it gives the batch."""
    datamodule = getattr(module._trainer, "datamodule", None)
    return datamodule is not None and is_overridden(hook, datamodule, pl.LightningDataModule)
