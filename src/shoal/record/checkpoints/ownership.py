"""Whether a checkpoint belongs to the model it is to be put into, and whether a training can go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shoal.engines.job import Job
from shoal.engines.position import Position
from shoal.errors import UsageError


def refuse_another(path: Path | None, state: Mapping[str, Any], module: nn.Module) -> None:
    """Refuse the state of another model.

    Raises:
        UsageError: the first parameter in which they differ.
    """
    tensors = state.get("state_dict")
    if not isinstance(tensors, dict) or not all(isinstance(each, Tensor) for each in tensors.values()):
        raise UsageError(f"{path} is no checkpoint of a run")
    # Before load_state_dict is asked, whose error lists every parameter in which they differ.
    there = {name: tuple(value.shape) for name, value in tensors.items()}
    # A lazy layer, which has seen no batch, takes the shape of what is put into it.
    lazy = {name for name, value in module.state_dict().items() if is_lazy(value)} & there.keys()
    here = {name: there[name] if name in lazy else _shape(value) for name, value in module.state_dict().items()}
    differing = [name for name in here | there if here.get(name) != there.get(name)]
    if differing:
        name = differing[0]
        raise UsageError(
            f"{path} is of another model",
            hint=f"{name}: {there.get(name, 'not there')} there, {here.get(name, 'not there')} by config.yaml",
        )


def _shape(value: Any) -> tuple[int, ...] | str:
    return "of any shape" if is_lazy(value) else tuple(value.shape)


def refuse_part_of_an_epoch(job: Job, path: Path | None, position: Position) -> None:
    """Refuse to go on in the middle of a step, and of an epoch with a LightningModule of the user's own.

    Raises:
        UsageError: because gradients, and what such a module adds up with `self.log`, are in no checkpoint.
    """
    accumulated = job.trainer.get("accumulate_grad_batches") or 1
    if position.batch % accumulated:
        raise UsageError(
            f"{path} is from a validation between two batches whose gradients are added up",
            hint="go on from the last state, or have trainer.val_check_interval a multiple of the batches added up",
        )
    if job.own_module and position.batch:
        raise UsageError(
            f"{path} is from the middle of epoch {position.epoch}; a LightningModule of your own goes on from the end "
            "of an epoch only",
            hint="go on from the other state (--from best, or last), or end at an epoch: trainer.max_epochs",
        )
