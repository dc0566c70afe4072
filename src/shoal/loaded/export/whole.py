"""The whole way from raw rows to predictions as one graph: encoding, network, and the target's own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shoal.tasks import Data, Supervised
from shoal.tasks.tables import encoding_graph
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Date

Kind = Literal["number", "category", "date", "tensor"]
_ROUNDED = 1e-6
"""What an input of the model may change by when its column is rounded to float32."""


@dataclass(frozen=True)
class Field:
    """A column that the graph takes."""

    name: str
    """Of the input: the column's, its quotation marks replaced, since torch writes names into code."""
    column: str
    kind: Kind = "number"
    codes: Mapping[str, int] | None = None
    """Of a category: the code of each way to write it."""
    fitted: Mapping[str, Any] | None = None
    """What was fitted on the training samples, where anything was."""


@dataclass(frozen=True)
class Signature:
    """What the graph takes and gives."""

    fields: tuple[Field, ...]
    matrix: str | None
    """The name of the one input that holds all columns, which are numbers; None for an input a column."""
    numbers: torch.dtype
    """The type of the numbers."""
    outputs: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their codes, where the first output is a class."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return (self.matrix,) if self.matrix else tuple(field.name for field in self.fields)


def signature(module: Supervised, data: Data, format: Format, *, by_column: bool) -> Signature:
    """The signature of a trained module; an input a column where any is no number, or `by_column` asks for it."""
    encoding = data.encoding
    fitted = encoding.get("columns", [{"name": name} for name in data.features])
    fields: list[Field] = []
    for column in fitted:
        fields.append(_field(column, free(_unquoted(column["name"]), [field.name for field in fields]), format))
    parameter = next(module.model.parameters()).dtype
    # A matrix has one type: texts and dates do not go into it.
    apart = by_column or any(field.kind != "number" for field in fields)
    numbers = torch.float64 if _needs_double(fitted) or (apart and "columns" in encoding) else parameter
    taken = [field.name for field in fields] if apart else []
    target = _unquoted(encoding.get("target") or (data.targets[0] if len(data.targets) == 1 else "y"))
    first = target if apart or encoding else "y"
    classes = tuple(encoding.get("classes", ()))
    outputs = (first, free("probabilities", [*taken, first])) if classes else (first,)
    return Signature(tuple(fields), None if apart else free("x", outputs), numbers, outputs, classes)


class Whole(nn.Module):
    """Encoder, network and decoder, one after the other; called with a matrix, or with columns by their names."""

    def __init__(self, network: nn.Module, data: Data, format: Format, takes: Signature) -> None:
        super().__init__()
        self.network = network
        self.takes = takes
        self.names = None if takes.matrix else {field.column: field.name for field in takes.fields}
        self.outputs = takes.outputs
        self.dtype = next(network.parameters()).dtype
        fitted = data.encoding.get("columns")
        self.encoder = _encoder(fitted, format, takes) if fitted else None
        self.decoder = encoding_graph.Decoder(data.encoding) if fitted else None

    def forward(self, rows: Any) -> dict[str, Tensor]:
        """Predictions by the names of the outputs; of one target a number a row, where columns came in."""
        columns = {column: rows[name] for column, name in self.names.items()} if self.names else rows
        x = self.encoder(columns) if self.encoder else torch.stack([*columns.values()], 1) if self.names else rows
        outputs = self.network(x.to(self.dtype))
        found = self.decoder(outputs) if self.decoder else (outputs,)
        if self.names and found[0].dim() > 1 and found[0].shape[1] == 1:
            # As the columns that came in: of shape (rows,).
            found = (found[0][:, 0], *found[1:])
        return dict(zip(self.outputs, found, strict=True))


def _encoder(fitted: Sequence[Mapping[str, Any]], format: Format, takes: Signature) -> nn.Module:
    return (
        encoding_graph.Numbers(fitted, format.missing_numbers)
        if takes.matrix
        else encoding_graph.Encoder(fitted, format)
    )


def _field(column: Mapping[str, Any], name: str, format: Format) -> Field:
    if "categories" in column:
        return Field(name, column["name"], "category", encoding_graph.codes(column, format), column)
    return Field(name, column["name"], "date" if column.get("kind") == Date.name else "number", None, column)


def _needs_double(fitted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether numbers of a column differ by so little beside their size that float32 would not tell them apart."""
    # By what rounding moves a number, relative to it.
    half = torch.finfo(torch.float32).eps / 2
    return any(abs(column.get("mean", 0)) * half > _ROUNDED * column.get("scale", 1) for column in fitted)


def _unquoted(name: str) -> str:
    return name.replace("'", "_").replace('"', "_")


def free(name: str, taken: Sequence[str]) -> str:
    """The name, or one like it that is not taken."""
    while name in taken:
        name += "_"
    return name
