"""What Lightning makes of a `self.log` within a step: columns of the epoch, and names that callbacks may watch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

Stage = Literal["train", "val"]
Reduction = Literal["mean", "sum", "max", "min", "last"]

WEIGHT = "\0weight"
"""Ends the name of what a batch counts in the mean, where that is not its number of samples."""
# Lightning's own, so that its order of arguments and its defaults hold, whatever its version.
_SIGNATURE = inspect.signature(pl.LightningModule.log)
_OF_DICTIONARY = inspect.signature(pl.LightningModule.log_dict)
_REDUCTIONS: Mapping[Any, Reduction] = {
    **{name: name for name in ("mean", "sum", "max", "min")},
    **{torch.mean: "mean", torch.sum: "sum", torch.max: "max", torch.min: "min", sum: "sum", max: "max", min: "min"},
    "avg": "mean",
}
_BEGINNINGS = {"mean": 0.0, "sum": 0.0, "max": -torch.inf, "min": torch.inf, "last": torch.nan}


class NotLoggableError(ValueError):
    """A call of `self.log` that Lightning refuses: what it does, and what to write instead."""


@dataclass(frozen=True)
class Entry:
    """How a logged value becomes a number of the epoch."""

    reduction: Reduction
    """The mean weighs each batch by its number of samples, unless the step says by what."""
    shown: bool = True
    """Whether it is a column of the history; otherwise only callbacks see it."""


class Total(NamedTuple):
    """What has come together of a metric, for every row of a stack."""

    value: Float[Tensor, " runs"]
    """Of a mean the sum."""
    weight: float | Float[Tensor, " runs"]
    """Of the batches that logged it: samples, or batches of what is no mean. One for each row where these differ."""

    @classmethod
    def nothing(cls, entry: Entry, rows: int) -> Total:
        """That of no batch."""
        return cls(torch.full((rows,), _BEGINNINGS[entry.reduction], dtype=torch.float64), 0)

    def and_(self, entry: Entry, values: Float[Tensor, "batches runs"], weights: Sequence[float]) -> Total:
        """This, and the values of some batches."""
        weight = self.weight + sum(weights)
        if entry.reduction == "last":
            return Total(values[-1], weight)
        if entry.reduction in ("max", "min"):
            every = torch.cat([self.value[None], values])
            return Total(every.amax(0) if entry.reduction == "max" else every.amin(0), weight)
        parts = values * torch.tensor(weights, dtype=torch.float64)[:, None] if entry.reduction == "mean" else values
        # Not `sum`, whose order of adding goes by the shape: one batch after the other, however many rows there are.
        return Total(torch.cat([self.value[None], parts]).cumsum(0)[-1], weight)

    def again(self, entry: Entry, value: Float[Tensor, " runs"], weight: float, rows: Sequence[int]) -> Total:
        """This, and the value of a batch that counts in these rows alone."""
        counts = torch.tensor([row in rows for row in range(len(value))])
        more = self.and_(entry, value[None], [weight])
        return Total(torch.where(counts, more.value, self.value), self.weight + weight * counts)

    def weight_of(self, row: int) -> float:
        """What has come together in one row weighs; 0 where nothing was logged."""
        return float(self.weight[row]) if isinstance(self.weight, Tensor) else self.weight

    def number(self, entry: Entry) -> Float[Tensor, " runs"]:
        """The number of the epoch."""
        return self.value / self.weight if entry.reduction == "mean" else self.value


def arguments(module: Any, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of `self.log`, by their names, those included that were not given."""
    bound = _SIGNATURE.bind(module, name, value, *args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def in_dictionary(module: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """For each name in a call of `self.log_dict` its value, and the arguments of the `self.log` that it comes to."""
    given = dict(_OF_DICTIONARY.bind(module, *args, **kwargs).arguments)
    del given["self"]
    return {name: (value, given) for name, value in given.pop("dictionary").items()}


def entries(stage: Stage, given: Mapping[str, Any], loader: int | None = None) -> dict[str, Entry]:
    """The names under which the value of a call of `self.log` is known after an epoch.

    `loader` is the number of the data loader, where there are several; it is part of the names.

    A value that is logged by step and by epoch has two columns, and a third name for callbacks. That of the step is no
    column in training, whose history has no rows within an epoch. What Lightning's other arguments say is for several
    processes, its progress bar and metrics with a state.

    Raises:
        NotLoggableError: where Lightning refuses the call.
    """
    trains, name = stage == "train", given["name"]
    by_step = trains if given["on_step"] is None else bool(given["on_step"])
    by_epoch = not trains if given["on_epoch"] is None else bool(given["on_epoch"])
    reduction, shown = _reduction(name, given["reduce_fx"]), given["logger"] is not False
    if not (by_step or by_epoch):
        raise NotLoggableError(
            f"logs {name} neither by step nor by epoch", "one of on_step and on_epoch has to be True"
        )
    if given["add_dataloader_idx"] and "/dataloader_idx_" in name:
        raise NotLoggableError(f"logs {name}, with the number of a data loader in the name", "Lightning adds it itself")
    of_loader = "" if loader is None or not given["add_dataloader_idx"] else f"/dataloader_idx_{loader}"
    if not (by_step and by_epoch):
        return {f"{name}{of_loader}": Entry(reduction if by_epoch else "last", shown)}
    return {
        f"{name}{of_loader}": Entry(reduction, False),
        f"{name}_step{of_loader}": Entry("last", shown and not trains),
        f"{name}_epoch{of_loader}": Entry(reduction, shown),
    }


def _reduction(name: str, given: Any) -> Reduction:
    try:
        return _REDUCTIONS[given.lower() if isinstance(given, str) else given]
    # TypeError comes of what cannot be hashed: Lightning knows no such reduction either.
    except (KeyError, TypeError):
        raise NotLoggableError(
            f"logs {name} with a reduce_fx that Lightning does not know", "mean, sum, min and max are known"
        ) from None
