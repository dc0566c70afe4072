"""What every task offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval
from jaxtyping import Float, Int
from torch import Tensor, nn

from shoal.errors import ConfigError, UsageError, suggestion
from shoal.seeding import MAX_SEED
from shoal.tasks import measures
from shoal.tasks.assessment import Assessment
from shoal.tasks.data import Data

Seed = Annotated[int, Interval(ge=0, le=MAX_SEED)]
Count = Annotated[int, Ge(1)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]
Domain = tuple[float, float]
_AUTO = 64
"""Samples of a training step where the batch size is auto, if there are so many."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Something to learn: data, and how a model's outputs are read."""

    seed: Seed = 0
    """Seed of the data and of its split; the run's own unless set."""
    batch_size: Count | Literal["auto"] | None = None
    """Samples of a training step. null: all samples; auto: 64, or all if there are fewer."""
    val_batch_size: Count | None = None
    """Samples of a validation step; all of them where null."""
    drop_last: bool = False
    """Leave out the last batch of a training epoch where it is smaller than the others."""
    units: Mapping[str, str] | None = None
    """Units of inputs and targets by their names, which figures and `shoal show` say: `{x: s, y: m}`."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """How many numbers the model is given for a sample."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers the model gives for a sample."""

    @property
    def unit(self) -> float:
        """How much of the target's own units one unit of the model's outputs is."""
        return 1.0

    @property
    def class_counts(self) -> Int[Tensor, " classes"] | None:
        """How many training samples each class has; None where the targets are numbers."""
        y = self.data().train.y
        return None if y.is_floating_point() else torch.bincount(y, minlength=self.outputs)

    @property
    def names(self) -> Sequence[str]:
        """Name of each of the numbers that the model is given for a sample."""
        return self.data().features

    def label(self, name: str, *, of: str | None = None) -> str:
        """What an axis is called: the name, and where it has one the unit of an input or target (that of that name)."""
        unit = (self.units or {}).get(of or name)
        return f"{name} ({unit})" if unit else name

    def slope_label(self, y: str, x: str) -> str:
        """What the axis of the derivative dy/dx is called."""
        units = self.units or {}
        return f"d{y}/d{x} ({units[y]}/{units[x]})" if x in units and y in units else f"d{y}/d{x}"

    @property
    def validates(self) -> bool:
        """Whether there are samples for validation."""
        return True

    @property
    def digest(self) -> str | None:
        """SHA-256, in hexadecimal, of the file that the samples come from; None where they come from none."""
        return None

    @abstractmethod
    def data(self) -> Data:
        """The samples: a pure function of the settings."""

    def description(self) -> str | None:
        """What was found in the data, where there is something to tell whoever trains: columns and their types."""
        return None

    def observe(self, prediction: Tensor) -> Tensor:
        """What the loss sees of the model's outputs; the outputs themselves unless a task says otherwise."""
        return prediction

    def truth(self, x: Float[Tensor, "samples features"]) -> Tensor | None:
        """The targets without noise, where the task knows them."""
        del x
        return None

    @property
    def solution(self) -> float | None:
        """The number that is looked for, where the task is to find one and knows it: a line in the figure."""
        return None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What `metrics` gives for the task's samples."""
        return measures.names(self.data().train.y, self.outputs)

    def metrics(self, outputs: Tensor, target: Tensor) -> Mapping[str, float]:
        """Measures of all outputs for the validation samples, logged as `val/NAME` after each epoch, whatever the loss.

        Of numbers the root mean squared and the mean absolute error, in units of the target, and R2; of classes
        accuracy, balanced accuracy, F1 and AUC; none where what the loss sees is no prediction of the targets.
        """
        return {name: of_all for name, [of_all] in measures.measured(outputs[None], target[None], [self.unit]).items()}

    def assess(self, outputs: Float[Tensor, "samples outputs"]) -> Assessment | None:
        """What to show of a trained model, given its outputs for the validation samples (training, without any)."""
        del outputs
        return None

    def of_formula(self, names: Sequence[str], by: str | None = None, defined: Sequence[str] = ()) -> Task:
        """The task for a formula with these names: in its own units, and with no more inputs than the formula has.

        `by` names the column that parts the samples into groups, `defined` the formulas that have names themselves.
        """
        del names, by, defined
        return self

    def restored(self, encoding: Mapping[str, Any]) -> Task:
        """The task as predictions from a checkpoint need it: where it can, without the data it was trained on."""
        del encoding
        return self

    def recorded(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Values beside the loss to log after each epoch, by name: a weight, the x that is looked for."""
        del model
        return {}

    @property
    def records(self) -> bool:
        """Whether there is anything that `recorded` gives."""
        # Known without a model: what stacks has to be told before there is one.
        return type(self).recorded is not Task.recorded

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data) -> Float[Tensor, "samples features"]:
        """Inputs of the model from named columns of a table.

        Raises:
            UsageError: where a column is missing or holds something that is not a number.
        """
        missing = [name for name in data.features if name not in columns]
        if missing:
            raise UsageError(
                f"no column {missing[0]!r} in the input", hint=suggestion(missing[0], columns, kind="columns")
            )
        try:
            # Contiguous, as samples in training are: kernels may round otherwise where memory has gaps.
            return torch.tensor([[float(v) for v in columns[name]] for name in data.features]).T.contiguous()
        except (TypeError, ValueError) as error:
            raise UsageError(f"the input holds something that is not a number: {error}") from error

    def decode(self, outputs: Float[Tensor, "samples outputs"], data: Data) -> dict[str, list[Any]]:
        """Named columns of predictions from the model's outputs."""
        return {name: outputs[:, i].tolist() for i, name in enumerate(data.targets)}

    def training_batch(self, n_train: int) -> int | None:
        """How many of `n_train` samples a training step takes; None for all of them."""
        return min(_AUTO, n_train) if self.batch_size == "auto" else self.batch_size

    def fits(self, n_train: int) -> None:
        """Check the batch size against the number of training samples.

        Raises:
            ConfigError: where a batch is larger than the data.
        """
        if (self.training_batch(n_train) or 0) > n_train:
            raise ConfigError(
                "batch_size",
                self.batch_size,
                f"is larger than the {n_train} training samples",
                hint=f"an integer from 1 to {n_train}, auto, or null for all of them",
            )
