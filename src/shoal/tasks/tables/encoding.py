"""From the columns of a table to tensors. What was fitted is plain values, so that a checkpoint can hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import UsageError, suggestion
from shoal.tasks.tables.columns import Column

Encoding = Mapping[str, Any]
"""`kind` and `target`; `columns`: for each its `name`, `mean` and `scale`, or `categories`, and `fill` for a missing
value; `mean` and `scale` of the target, or `classes`."""


def fit_columns(frame: pl.DataFrame, train: Tensor, columns: Sequence[Column], *, fills: bool) -> list[dict[str, Any]]:
    """Mean and standard deviation of each numeric column over the rows `train`, the categories of each other one.

    A category that is only in other rows is listed too: the model then has an input for it, though an untrained one.
    """
    return [_fit(frame[column.name], train, column, fills=fills) for column in columns]


def _fit(series: pl.Series, train: Tensor, column: Column, *, fills: bool) -> dict[str, Any]:
    known = series[train.numpy()]
    if column.kind == "category":
        fill = known.drop_nulls().mode().sort().first() if fills else None
        return {"name": column.name, "categories": series.drop_nulls().unique().sort().to_list(), "fill": fill}
    mean, scale = moments(known)
    return {"name": column.name, "mean": mean, "scale": scale, "fill": mean if fills else None}


def moments(series: pl.Series) -> tuple[float, float]:
    """Mean and standard deviation; 1 in place of a standard deviation of 0."""
    mean, scale = float(series.mean() or 0.0), float(series.std(ddof=0) or 0.0)  # type: ignore[arg-type]
    return mean, scale or 1.0


def names(columns: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A name for each input of the model: the column's, or `column=category`."""
    found: list[str] = []
    for column in columns:
        found += (
            [f"{column['name']}={value}" for value in column["categories"]]
            if "categories" in column
            else [column["name"]]
        )
    return tuple(found)


def encoded(frame: pl.DataFrame, columns: Sequence[Mapping[str, Any]]) -> Float[Tensor, "samples features"]:
    """Numbers standardised, categories one-hot, missing values filled in.

    Raises:
        UsageError: where training never saw a category, or a value is missing that nothing was fitted to fill in.
    """
    x = torch.zeros(len(frame), len(names(columns)))
    at = 0
    for column in columns:
        series = frame[column["name"]]
        if series.null_count():
            series = _filled(series, column)
        if "categories" in column:
            x[torch.arange(len(frame)), at + _indices(series, column["name"], column["categories"])] = 1
            at += len(column["categories"])
        else:
            x[:, at] = torch.from_numpy((series.to_numpy() - column["mean"]) / column["scale"])
            at += 1
    return x


def classes(series: pl.Series, known: Sequence[str]) -> Tensor:
    """The index of each row's class."""
    return _indices(series, series.name, known)


def tabular(columns: Mapping[str, Sequence[Any]], encoding: Encoding) -> pl.DataFrame:
    """New rows, in the types that the encoding needs.

    Raises:
        UsageError: where a column is missing, or holds something that is not a number.
    """
    series = []
    for column in encoding["columns"]:
        name = column["name"]
        if name not in columns:
            raise UsageError(f"no column {name!r} in the input", hint=suggestion(name, columns, kind="columns"))
        values = pl.Series(name, list(columns[name]), strict=False)
        series.append(_texts(values) if "categories" in column else _numbers(values, name))
    return pl.DataFrame(series)


def _filled(series: pl.Series, column: Mapping[str, Any]) -> pl.Series:
    if column["fill"] is None:
        row = series.is_null().arg_true()[0]
        raise UsageError(
            f"row {row + 1} has no value for {column['name']!r}", hint="train with task.missing=mean to allow that"
        )
    return series.fill_null(column["fill"])


def _indices(series: pl.Series, name: str, known: Sequence[str]) -> Tensor:
    indices = series.cast(pl.Enum(known), strict=False).to_physical()
    unseen = indices.is_null()
    if unseen.any():
        row = unseen.arg_true()[0]
        hint = suggestion(series[row], known[:20], kind="seen were")
        raise UsageError(f"row {row + 1}: {name!r} is {series[row]!r}, which training never saw", hint=hint)
    return torch.from_numpy(indices.cast(pl.Int64).to_numpy(writable=True))


def _texts(values: pl.Series) -> pl.Series:
    if values.dtype.is_float() and (values.drop_nulls() % 1 == 0).all():
        values = values.cast(pl.Int64)
    return values.cast(pl.String).str.strip_chars().replace("", None)


def _numbers(values: pl.Series, name: str) -> pl.Series:
    if values.dtype == pl.String:
        values = values.str.strip_chars().replace("", None)
    numbers = values.cast(pl.Float64, strict=False).fill_nan(None)
    bad = (values.is_not_null() & (numbers.is_null() | numbers.is_infinite())).arg_true()
    if len(bad):
        raise UsageError(f"row {bad[0] + 1}: {name!r} is {values[bad[0]]!r}, which is not a finite number")
    return numbers
