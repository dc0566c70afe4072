"""Samples in memory: inputs beside targets, for training and for validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from shoal.errors import ConfigError
from shoal.seeding import Stream, generator
from shoal.tasks.forward_input import ForwardInput


@dataclass(frozen=True)
class Split:
    """Samples: one row of `x` and of `y` each."""

    x: Num[Tensor, "samples *features"]
    y: Num[Tensor, "samples *outputs"]
    weight: Float[Tensor, "samples *weights"] | None = None
    """How much each sample, or each target of it, counts in the loss, where they do not count alike."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs, targets and, where there are some, weights: what a batch is a part of."""
        return (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)

    @property
    def complete(self) -> Bool[Tensor, " samples"]:
        """The samples of which every target counts: all, unless each target has weights of its own."""
        if self.weight is None or self.weight.dim() == 1:
            return torch.ones(len(self), dtype=torch.bool)
        return (self.weight > 0).all(1)

    def at(self, index: Tensor) -> Split:
        """The samples at these places."""
        return Split(*(each[index] for each in self.tensors))

    def first(self, n: int) -> tuple[Tensor, ...]:
        """The first `n` samples as a batch."""
        return tuple(each[:n] for each in self.tensors)


@dataclass(frozen=True)
class Scaling:
    """How numbers were standardised: for each column what was subtracted, and by what the rest was divided."""

    mean: Float[Tensor, " columns"]
    scale: Float[Tensor, " columns"]

    def standard(self, values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        """Numbers in their own units as the model has them."""
        mean, scale = self._beside(values)
        # In float64: of a column far from zero the difference would lose its digits.
        return ((values.double() - mean) / scale).to(values.dtype)

    def in_own_units(self, values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        """What the model has in its own units."""
        mean, scale = self._beside(values)
        # A column that never varied has an infinite scale, 0 times which is no number.
        return torch.where(scale.isfinite(), values.double() * scale + mean, mean).to(values.dtype)

    def _beside(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean.to(values.device), self.scale.to(values.device)


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
    test: Split | None = None
    """What only `shoal eval --test` looks at."""
    shaped: tuple[ForwardInput, ...] = ()
    """What a module of the user's own is given where that is no row of numbers."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The least and the greatest value that each input which is no category had in training; of dates their year's.

        Empty where that is not known.
        """
        columns = self.encoding.get("columns")
        if columns is None:
            ends = [(float(x.min()), float(x.max())) for x in self.train.x.unbind(1)] if len(self.train) else []
            return dict(zip(self.features, ends, strict=False))
        known = [column for column in columns if column.get("low") is not None]
        return {column["name"]: (column["low"], column["high"]) for column in known}

    @property
    def is_curve(self) -> bool:
        """Whether one number follows from another one."""
        return len(self.features) == 1 and self.of_numbers and "classes" not in self.encoding

    @property
    def of_numbers(self) -> bool:
        """Whether all inputs are numbers."""
        return all(column["kind"] == "number" for column in self.encoding.get("columns", ()))

    @property
    def of_inputs(self) -> Scaling:
        """How the inputs were scaled, if they were; all of them are numbers."""
        columns = self.encoding.get("columns") or [{"mean": 0.0, "scale": 1.0}]
        return Scaling(*(torch.tensor([column[key] for column in columns]).double() for key in ("mean", "scale")))

    @property
    def of_targets(self) -> Scaling:
        """How the targets were scaled, if they were; all of them are numbers."""
        # Samples without a table's encoding are in their own units.
        known = {"mean": 0.0, "scale": 1.0, **self.encoding}
        return Scaling(*(torch.tensor([known[key]], dtype=torch.float64) for key in ("mean", "scale")))


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How samples are shared out for training, validation and the test, at random."""

    seed: int
    """Of the validation samples. The test part is the same whatever the seed: what one run of several is tested on,
    no other one of them is trained on."""
    val_fraction: float = 0.0
    """Share for validation (rounded); unused where there are folds."""
    test_fraction: float = 0.0
    """Share for the test, taken away before the others are shared out."""
    folds: int | None = None
    """Equal parts, of which one is for validation."""
    fold: int = 0

    def parts(self, n: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the training, the validation and the test samples among `n`.

        With `labels` (one class index a sample) every class is shared out in the same proportion, to within one sample.

        Raises:
            ConfigError: where one of them would be empty although asked for.
        """
        rest, test = torch.arange(n), torch.arange(0)
        if self.test_fraction:
            # Taken by a seed of its own, before anything else is drawn.
            n_test = _share(n, self.test_fraction, "test_fraction", "test")
            rest, test = (part.sort().values for part in _drawn(n, n_test, generator(0, Stream.TEST), labels))
            # The classes of what is left, in the same order.
            labels = None if labels is None else labels[rest]
        if not self.val_fraction and self.folds is None:
            return rest, torch.arange(0), test
        drawn = generator(self.seed, Stream.SPLIT)
        train, val = _drawn(len(rest), self._n_val(len(rest)), drawn, labels, self.folds, self.fold)
        return rest[train], rest[val], test

    def _n_val(self, n: int) -> int:
        if self.folds is None:
            return _share(n, self.val_fraction, "val_fraction", "validation")
        if self.folds > n:
            raise ConfigError("folds", self.folds, f"is more than the {n} samples")
        # Every n-th place from the fold's own: parts differ by one sample at most.
        return len(range(self.fold, n, self.folds))


def _drawn(
    n: int,
    n_held: int,
    drawn: torch.Generator,
    labels: Tensor | None,
    folds: int | None = None,
    fold: int = 0,
) -> tuple[Tensor, Tensor]:
    """Indices of the samples to keep, and of those to hold back: `n_held` of them, or one fold."""
    order = torch.randperm(n, generator=drawn)
    place = torch.arange(n)
    if labels is not None:
        # Class after class, each in its random order: what is even along the places is even in every class.
        order = order[torch.argsort(labels[order], stable=True)]
    if folds is not None:
        held = place % folds == fold
    elif labels is not None:
        # Every n / n_held-th place, in whole numbers: exactly n_held of them, spread evenly.
        held = (place + 1) * n_held // n != place * n_held // n
    else:
        held = place < n_held
    kept, held_back = order[~held], order[held]
    # Back in their own order: a training that does not shuffle would meet one class after the other.
    return (kept, held_back) if labels is None else (kept.sort().values, held_back.sort().values)


def _share(n: int, fraction: float, key: str, part: str) -> int:
    n_held = round(n * fraction)
    if not 0 < n_held < n:
        empty = part if n_held == 0 else "training"
        raise ConfigError(key, fraction, f"leaves no {empty} samples of {n}")
    return n_held
