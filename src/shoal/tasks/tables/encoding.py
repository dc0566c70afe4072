"""From the columns of a table to tensors. What was fitted is plain values, so that a checkpoint can hold it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy
import polars as pl
import torch
from jaxtyping import Float, Num
from torch import Tensor

from shoal.errors import UsageError, suggestion
from shoal.tasks.tables import dates, kinds
from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Category, Date, UnreadableError

Encoding = Mapping[str, Any]
"""`kind` and `target`; `columns`: for each its `name`, its `kind` with what tells how its cells are read, `mean`,
`scale`, `low` and `high` (of a date its year's), or `categories`, and `fill` for a missing value. Of the target `mean`
and `scale`, or `classes` with the `counts` of them in training, and in `labels` how its cells are read. A `scale` is
infinite where all values are the same: such an input is 0."""
_ROUNDING = 8.0
"""Units in the last place, of the largest value, that a column may vary by and still be constant."""

_SQUARABLE = (1e-150, 1e150)
"""Numbers between these have squares that float64 holds."""


def fit_columns(
    frame: pl.DataFrame, train: Tensor, columns: Sequence[Column], *, fills: bool, scaled: bool = True
) -> list[dict[str, Any]]:
    """Mean and standard deviation of each numeric column over the rows `train`, the categories of each other one.

    A category that is only in other rows is listed too: the model then has an input for it, though an untrained one.
    Numbers that are not to be `scaled` have a mean of 0 and a standard deviation of 1 here.
    """
    known = frame[train.numpy()]
    return [_fit(frame[each.name], known[each.name], each, fills=fills, scaled=scaled) for each in columns]


def _fit(values: pl.Series, known: pl.Series, column: Column, *, fills: bool, scaled: bool) -> dict[str, Any]:
    about = {"name": column.name, **column.kind.plain()}
    if isinstance(column.kind, Category):
        # Of several that are as frequent the first by name: polars gives them in no order.
        fill = known.drop_nulls().mode().sort().first() if fills else None
        # Sorted, so that the order of rows in the file does not change the model.
        return {**about, "categories": values.drop_nulls().unique().sort().to_list(), "fill": fill}
    if isinstance(column.kind, Date):
        return {**about, **_fit_dates(known, fills=fills)}
    mean, scale = moments(known)
    about |= {"fill": mean if fills else None, **_range(known)}
    return {**about, **({"mean": mean, "scale": scale} if scaled else {"mean": 0.0, "scale": 1.0})}


def _fit_dates(known: pl.Series, *, fills: bool) -> dict[str, Any]:
    # Where every time is midnight the dates have none.
    hours = bool((known.drop_nulls().dt.time().cast(pl.Int64) != 0).any())
    years = dict(dates.inputs(known, hours=hours))["year"]
    mean, scale = moments(years)
    fill: Any = known.mean()
    # A text, as a checkpoint holds no dates.
    filled = fill.isoformat() if fills else None
    return {"hours": hours, "mean": mean, "scale": scale, "fill": filled, **_range(years)}


def _range(known: pl.Series) -> dict[str, Any]:
    return {"low": known.min(), "high": known.max()}


def moments(known: pl.Series) -> tuple[float, float]:
    """Mean and standard deviation; infinity in place of a standard deviation that is nothing but rounding."""
    most = float(known.abs().max() or 0.0)  # type: ignore[arg-type]
    # Scaled first: their squares would be infinite or 0, and the column would count as constant.
    if most and not _SQUARABLE[0] < most < _SQUARABLE[1]:
        mean, scale = (most * value for value in moments(known / most))
        return mean, scale
    mean, scale = float(known.mean() or 0.0), float(known.std(ddof=0) or 0.0)  # type: ignore[arg-type]
    return mean, math.inf if scale <= rounding(known) else scale


def rounding(known: pl.Series) -> float:
    """What numbers may differ by although they mean the same: of those that came from a float32, by more."""
    values = known.drop_nulls().to_numpy()
    with numpy.errstate(over="ignore"):
        # Whole numbers may be the same in a float32 without having come from one.
        # A table that was saved from float32 has the rounding of those, in whatever type it is read.
        narrow = (values.astype(numpy.float32) == values).all() and (values % 1 != 0).any()
    precision = numpy.finfo(numpy.float32 if narrow else numpy.float64).eps
    return _ROUNDING * float(precision) * float(abs(values).max(initial=0.0))


def names(columns: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A name for each input of the model: the column's, `column=category`, or `column.month_sin`."""
    return tuple(name for column in columns for name in _names(column))


def _names(column: Mapping[str, Any]) -> list[str]:
    name = column["name"]
    if "categories" in column:
        return [f"{name}={value}" for value in column["categories"]]
    if column.get("kind") == Date.name:
        nothing = pl.Series(name, [], dtype=pl.Datetime("us"))
        return [f"{name}.{part}" for part, _ in dates.inputs(nothing, hours=column["hours"])]
    return [name]


def encoded(
    frame: pl.DataFrame, columns: Sequence[Mapping[str, Any]], rows: pl.Series | None = None
) -> Float[Tensor, "samples features"]:
    """Numbers standardised, categories one-hot, dates taken apart, missing values filled in.

    `rows` are the numbers of the rows, from 0, where there were others between them.

    Raises:
        UsageError: where training never saw a category, or a value is missing that nothing was fitted to fill in.
    """
    x = torch.zeros(len(frame), len(names(columns)))
    at = 0
    for column in columns:
        values = frame[column["name"]]
        if values.null_count():
            values = _filled(values, column, rows)
        if "categories" in column:
            x[torch.arange(len(frame)), at + _indices(values, column["name"], column["categories"], rows)] = 1
            at += len(column["categories"])
            continue
        for numbers in _inputs(values, column):
            x[:, at] = torch.from_numpy(numbers)
            at += 1
    return x


def _inputs(values: pl.Series, column: Mapping[str, Any]) -> Iterator[numpy.ndarray[Any, Any]]:
    """The inputs that a column of numbers or dates is; of a date's parts the year alone is not within -1 and 1."""
    if column.get("kind") != Date.name:
        yield (values.to_numpy() - column["mean"]) / column["scale"]
        return
    for part, numbers in dates.inputs(values, hours=column["hours"]):
        # torch warns of an array that it must not write to.
        known = numbers.to_numpy(writable=True)
        yield (known - column["mean"]) / column["scale"] if part == "year" else known


def classes(series: pl.Series, known: Sequence[str], rows: pl.Series | None = None) -> Tensor:
    """The index of each row's class."""
    return _indices(series, series.name, known, rows)


def targets(values: pl.Series, encoding: Encoding, rows: pl.Series | None = None) -> Num[Tensor, "samples *outputs"]:
    """What the model's outputs are compared with: the index of a class, or the standardised target."""
    if encoding["kind"] == "classification":
        return classes(values, encoding["classes"], rows)
    # In float64 until the end: of a target far from zero the difference would lose its digits.
    standardised = torch.from_numpy((values.to_numpy() - encoding["mean"]) / encoding["scale"])
    return standardised.to(torch.get_default_dtype())[:, None]


def numbers(values: pl.Series) -> Float[Tensor, " samples"]:
    """A column of numbers as they are, in the precision that is trained in."""
    return torch.from_numpy(values.to_numpy(writable=True)).to(torch.get_default_dtype())


def tabular(columns: Mapping[str, Any], fitted: Sequence[Mapping[str, Any]], format: Format) -> pl.DataFrame:
    """New rows, read as the table of the training was.

    Raises:
        UsageError: where a column is missing, or holds something else than it did.
    """
    read = []
    for column in fitted:
        name = column["name"]
        if name not in columns:
            raise UsageError(f"no column {name!r} in the input", hint=suggestion(name, columns, kind="columns"))
        try:
            read.append(kinds.restored(column).read(_cells(name, columns[name]), format))
        except UnreadableError as error:
            problem = (
                error.problem.replace("a number", "a finite number") if "finite" not in error.problem else error.problem
            )
            raise UsageError(f"row {error.rows[0] + 1}: {name!r} is {error.value!r}, which {problem}") from error
    return pl.DataFrame(read)


def _cells(name: str, values: Sequence[Any] | pl.Series) -> pl.Series:
    """Values of Python's as a column: of texts where any is one."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    # pandas writes a missing text as nan.
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    if any(isinstance(value, str) for value in values):
        return pl.Series(name, [value if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, strict=False)


def _filled(values: pl.Series, column: Mapping[str, Any], rows: pl.Series | None) -> pl.Series:
    fill = column["fill"]
    if fill is None:
        row = _row(values.is_null(), rows)
        raise UsageError(
            f"row {row + 1} has no value for {column['name']!r}", hint="train with task.missing=mean to allow that"
        )
    return values.fill_null(datetime.fromisoformat(fill) if column.get("kind") == Date.name else fill)


def _indices(series: pl.Series, name: str, known: Sequence[str], rows: pl.Series | None = None) -> Tensor:
    # By polars' own codes, in C: what is not among them becomes null.
    indices = series.cast(pl.Enum(known), strict=False).to_physical()
    unseen = indices.is_null()
    if unseen.any():
        value = series[unseen.arg_true()[0]]
        # The first of them: a column may have a thousand.
        hint = suggestion(value, known[:20], kind="seen were")
        raise UsageError(f"row {_row(unseen, rows) + 1}: {name!r} is {value!r}, which training never saw", hint=hint)
    return torch.from_numpy(indices.cast(pl.Int64).to_numpy(writable=True))


def _row(wrong: pl.Series, rows: pl.Series | None) -> int:
    """The number of the first row that is wrong."""
    place = int(wrong.arg_true()[0])
    return place if rows is None else int(rows[place])
