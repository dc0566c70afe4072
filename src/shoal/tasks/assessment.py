"""How good predictions are, beside what the simplest models achieve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class ClassScore:
    """How well one class is found."""

    name: str
    precision: float
    """Share of the samples predicted as this class that belong to it; 0 if none was predicted."""
    recall: float
    """Share of the samples of this class that were predicted as it; 0 if there are none."""
    f1: float
    """Harmonic mean of the two."""
    support: int
    """Samples of the class."""


@dataclass(frozen=True)
class Assessment:
    """The metrics of a model, those of baselines, and for classes what is taken for what."""

    samples: str
    """Which samples they were measured on: `validation` or `training`."""
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    """Name of the baseline -> its metrics on these samples; it was fitted on the training samples."""
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Samples of each class (row) predicted as each class (column)."""

    def plain(self) -> dict[str, Any]:
        """As lists, dictionaries and numbers, for JSON."""
        return asdict(self)


def confusion(predicted: Int[Tensor, " samples"], target: Int[Tensor, " samples"], n: int) -> Int[Tensor, "n n"]:
    """Samples of each class (row) predicted as each class (column)."""
    # Each pair as one number.
    return torch.bincount(target * n + predicted, minlength=n * n).view(n, n)


def scores(counts: Int[Tensor, "n n"], names: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class of a confusion matrix."""
    hits, predicted, support = counts.diagonal().tolist(), counts.sum(0).tolist(), counts.sum(1).tolist()
    found = []
    for name, hit, n_predicted, n in zip(names, hits, predicted, support, strict=True):
        precision, recall = hit / n_predicted if n_predicted else 0.0, hit / n if n else 0.0
        # 2 p r / (p + r), which stays defined where nothing was predicted.
        f1 = 2 * hit / (n_predicted + n) if n_predicted + n else 0.0
        found.append(ClassScore(name, precision, recall, f1, n))
    return tuple(found)
