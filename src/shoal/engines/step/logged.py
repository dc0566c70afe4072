"""What Lightning makes of a `self.log` within a step: columns of the epoch, and names that callbacks may watch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl

Stage = Literal["train", "val"]

_SIGNATURE = inspect.signature(pl.LightningModule.log)


@dataclass(frozen=True)
class Entry:
    """How a logged value becomes a number of the epoch."""

    mean: bool
    """The mean over the epoch; the last value where false."""
    weight: int | None = None
    """Weight of each batch in the mean; its number of samples where None."""
    shown: bool = True
    """Whether it is a column of the history; otherwise only callbacks see it."""


def arguments(module: Any, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of `self.log`, by their names, those included that were not given."""
    bound = _SIGNATURE.bind(module, name, value, *args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def entries(stage: Stage, given: dict[str, Any]) -> dict[str, Entry]:
    """The names under which the value of a call of `self.log` is known after an epoch; none where Lightning refuses it.

    A value that is logged by step and by epoch has two columns, and a third name for callbacks. That of the step is no
    column in training, whose history has no rows within an epoch.
    """
    trains, name = stage == "train", given["name"]
    by_step = trains if given["on_step"] is None else bool(given["on_step"])
    by_epoch = not trains if given["on_epoch"] is None else bool(given["on_epoch"])
    shown, weight = given["logger"] is not False, given["batch_size"]
    if not (by_step and by_epoch):
        return {name: Entry(by_epoch, weight, shown)} if by_step or by_epoch else {}
    return {
        name: Entry(True, weight, False),
        f"{name}_step": Entry(False, weight, shown and not trains),
        f"{name}_epoch": Entry(True, weight, shown),
    }
