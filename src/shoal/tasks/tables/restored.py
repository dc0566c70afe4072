"""A table task without its table: what predictions from a checkpoint need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import UsageError
from shoal.tasks.data import Data, Split
from shoal.tasks.measures import CLASSIFICATION, REGRESSION
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.labelled import Missing, Weighing, labelled, target_names
from shoal.tasks.task import Task


def encode(
    columns: Mapping[str, Sequence[Any]], encoding: codes.Encoding, format: Format
) -> Float[Tensor, "samples features"]:
    """Inputs of the model from named columns, read and encoded as in training.

    Raises:
        UsageError: where a column is missing, a value is no number, or a category was not seen in training.
    """
    return codes.encoded(codes.tabular(columns, encoding["columns"], format), encoding["columns"])


def counts(encoding: codes.Encoding) -> Tensor | None:
    """How many training samples each class has; None of numbers."""
    return torch.tensor(encoding["counts"]) if "counts" in encoding else None


def decode(outputs: Float[Tensor, "samples outputs"], encoding: codes.Encoding) -> dict[str, list[Any]]:
    """The predicted target in its own units; or the predicted class, and the probability of each class as `p_CLASS`."""
    if encoding["kind"] == "regression":
        values = outputs.double() * encoding["scale"] + encoding["mean"]
        return {name: values[:, i].tolist() for i, name in enumerate(target_names(encoding))}
    # In float64, so that the printed probabilities of a row add up to 1.
    probabilities = torch.softmax(outputs.double(), dim=1)
    predicted = [encoding["classes"][index] for index in outputs.argmax(dim=1).tolist()]
    shown = {f"p_{name}": probabilities[:, i].tolist() for i, name in enumerate(encoding["classes"])}
    return {encoding["target"]: predicted, **shown}


@dataclass(frozen=True, kw_only=True)
class Restored(Task):
    """Encodes and decodes as the training did; has no samples."""

    encoding: codes.Encoding = field(hash=False)
    """What was fitted on the training samples."""
    format: Format = Format()  # noqa: RUF009  frozen
    """How the table was written, and new ones are."""

    missing: Missing = "error"
    """What is done with a row without a value."""
    weighing: Weighing | None = None
    """What tells how much each row counts."""

    def labelled(self, table: pl.DataFrame) -> Split:
        """Rows with their targets, to test the model on.

        Raises:
            UsageError: where a column is missing, or holds what training never saw.
        """
        return labelled(table, self.encoding, self.format, self.missing, self.weighing)

    @property
    def names(self) -> tuple[str, ...]:
        return codes.names(self.encoding["columns"])

    @property
    def inputs(self) -> int:
        return len(codes.names(self.encoding["columns"]))

    @property
    def outputs(self) -> int:
        return len(self.encoding.get("classes", target_names(self.encoding)))

    @property
    def unit(self) -> float:
        return float(self.encoding.get("scale", 1.0))

    @property
    def class_counts(self) -> Tensor | None:
        return counts(self.encoding)

    @property
    def metric_names(self) -> tuple[str, ...]:
        return REGRESSION if self.encoding["kind"] == "regression" else CLASSIFICATION

    def data(self) -> Data:
        raise UsageError("only the encoding of this table is known, not its rows")

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data | None = None) -> Tensor:
        del data
        return encode(columns, self.encoding, self.format)

    def decode(self, outputs: Tensor, data: Data | None = None) -> dict[str, list[Any]]:
        del data
        return decode(outputs, self.encoding)
