"""Samples in memory: inputs beside targets, for training and for validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

from shoal.errors import ConfigError
from shoal.seeding import Stream, generator


@dataclass(frozen=True)
class Split:
    """Samples: one row of `x` and of `y` each."""

    x: Float[Tensor, "samples features"]
    y: Num[Tensor, "samples *outputs"]

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Data:
    """What a run trains on and is validated on."""

    train: Split
    val: Split | None
    features: tuple[str, ...]
    """Names of the inputs, as a table with new ones must have them."""
    targets: tuple[str, ...]
    """Name of each column of the predictions."""
    encoding: Mapping[str, Any] = field(default_factory=dict)
    """What was fitted on the training samples and predictions need again (means, categories): plain values."""


def shares(
    n: int, *, val_fraction: float, seed: int, folds: int | None = None, fold: int = 0, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Indices of the training and of the validation samples among `n`, at random.

    For validation is a share of `val_fraction` (rounded), or, where there are `folds`, one of so many equal parts.
    With `labels` (one class index a sample) every class is shared out in the same proportion, to within one sample.

    Raises:
        ConfigError: where one of the two would be empty although asked for.
    """
    n_val = _n_val(n, val_fraction, folds, fold)
    order = torch.randperm(n, generator=generator(seed, Stream.SPLIT))
    place = torch.arange(n)
    if labels is not None:
        order = order[torch.argsort(labels[order], stable=True)]
    if folds is not None:
        held = place % folds == fold
    elif labels is not None:
        held = (place + 1) * n_val // n != place * n_val // n
    else:
        held = place < n_val
    train, val = order[~held], order[held]
    return (train, val) if labels is None else (train.sort().values, val.sort().values)


def split(
    x: Tensor, y: Tensor, *, val_fraction: float, seed: int, folds: int | None = None, fold: int = 0
) -> tuple[Split, Split | None]:
    """Training and validation samples, shared out as `shares` says; all for training where nothing is held out.

    Raises:
        ConfigError: where one of the two would be empty although asked for.
    """
    if not val_fraction and folds is None:
        return Split(x, y), None
    train, val = shares(len(x), val_fraction=val_fraction, seed=seed, folds=folds, fold=fold)
    return Split(x[train], y[train]), Split(x[val], y[val])


def _n_val(n: int, val_fraction: float, folds: int | None, fold: int) -> int:
    if folds is not None:
        if folds > n:
            raise ConfigError("folds", folds, f"is more than the {n} samples")
        return len(range(fold, n, folds))
    n_val = round(n * val_fraction)
    if val_fraction and not 0 < n_val < n:
        empty = "validation" if n_val == 0 else "training"
        raise ConfigError("val_fraction", val_fraction, f"leaves no {empty} samples of {n}")
    return n_val
