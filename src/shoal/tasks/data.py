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
    """Name of each column of x."""
    targets: tuple[str, ...]
    """Name of each column of the predictions."""
    encoding: Mapping[str, Any] = field(default_factory=dict)
    """What was fitted on the training samples and predictions need again (means, categories): plain values."""


def split(x: Tensor, y: Tensor, *, val_fraction: float, seed: int) -> tuple[Split, Split | None]:
    """Training and validation samples: a random share of `val_fraction` (rounded) of them is for validation.

    Raises:
        ConfigError: where one of the two would be empty although asked for.
    """
    n = len(x)
    n_val = round(n * val_fraction)
    if not val_fraction:
        return Split(x, y), None
    if not 0 < n_val < n:
        empty = "validation" if n_val == 0 else "training"
        raise ConfigError("val_fraction", val_fraction, f"leaves no {empty} samples of {n}")
    order = torch.randperm(n, generator=generator(seed, Stream.SPLIT))
    val, train = order[:n_val], order[n_val:]
    return Split(x[train], y[train]), Split(x[val], y[val])
