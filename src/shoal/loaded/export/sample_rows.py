"""Rows to try an export with: raw ones, as a user has them, all over what the training saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy
import polars as pl
from numpy.typing import NDArray

from shoal.loaded.export.whole import Field, Signature
from shoal.tasks.tables.encoding_graph import NO_DATE, seconds

N_ROWS = 17
"""Rows that are tried."""
Feed = dict[str, NDArray[Any]]
"""Each input of a graph by its name."""


def rows(takes: Signature) -> pl.DataFrame:
    """The rows; where missing values are filled in, each column has one."""
    return pl.DataFrame([_column(field, place) for place, field in enumerate(takes.fields)])


def feed(table: pl.DataFrame, takes: Signature) -> Feed:
    """What a graph is given for them: categories as texts, dates as whole seconds."""
    dtype = str(takes.numbers).removeprefix("torch.")
    if takes.matrix:
        return {takes.matrix: table.cast(pl.Float64).to_numpy().astype(dtype)}
    return {field.name: _array(table[field.column], field, dtype) for field in takes.fields}


def coded(given: Feed, takes: Signature) -> Feed:
    """The feed with codes in the place of categories."""
    known = {field.name: field.codes for field in takes.fields if field.codes is not None}
    return {name: _codes(values, known[name]) if name in known else values for name, values in given.items()}


def _column(field: Field, place: int) -> pl.Series:
    fitted = field.fitted or {}
    turns = [(7 * row + 3 * place) % N_ROWS for row in range(N_ROWS)]  # another order in each column
    if field.kind == "category":
        values: list[Any] = [fitted["categories"][turn % len(fitted["categories"])] for turn in turns]
    else:
        low, high = _ends(fitted)
        values = [low + (high - low) * turn / (N_ROWS - 1) for turn in turns]
    if field.kind == "date":
        values = [_date(value) for value in values]
    if fitted.get("fill") is not None:
        # In another row for each column, so that no row lacks all of them.
        values[place % N_ROWS] = None
    return pl.Series(field.column, values)


def _ends(fitted: Mapping[str, Any]) -> tuple[float, float]:
    """From where to where the values of a column are tried."""
    if fitted.get("low") is not None:
        return fitted["low"], fitted["high"]
    mean, scale = fitted.get("mean", 0.0), fitted.get("scale", 0.5)
    spread = 2 * scale if math.isfinite(scale) else 0.0
    return mean - spread, mean + spread


def _date(year: float) -> datetime:
    # Within what `datetime` can hold.
    whole = min(max(int(year), 1), 9998)
    return datetime(whole, 1, 1) + timedelta(seconds=round((year - whole) * 365 * 24 * 60 * 60))


def _array(values: pl.Series, field: Field, dtype: str) -> NDArray[Any]:
    if field.kind == "category":
        return numpy.array([value or "" for value in values], dtype=str)
    if field.kind == "date":
        return numpy.array([NO_DATE if value is None else seconds(value) for value in values], dtype="int64")
    return values.cast(pl.Float64).to_numpy().astype(dtype)


def _codes(values: NDArray[Any], known: Mapping[str, int]) -> NDArray[Any]:
    return numpy.array([known[value] for value in values.tolist()], dtype="int64")
