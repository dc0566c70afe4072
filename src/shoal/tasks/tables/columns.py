"""What the columns of a table are: numbers, categories, or nothing a model can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

import polars as pl

from shoal.errors import ConfigError, suggestion

Kind = Literal["number", "category"]

MOST_CATEGORIES = 1000
_FEW_VALUES = 10
"""A whole-number target with at most so many distinct values, three rows to each, is taken for classes."""


@dataclass(frozen=True)
class Column:
    """A column that is used, as it was found."""

    name: str
    kind: Kind
    missing: int
    """Rows without a value, NaN included."""
    distinct: int
    """Distinct values, missing ones not counted."""

    def __str__(self) -> str:
        return self.kind if self.kind == "number" else f"category, {self.distinct} values"


def chosen(frame: pl.DataFrame, target: str, features: Sequence[str] | None) -> list[str]:
    """The features: those asked for, or every column but the target.

    Raises:
        ConfigError: where a column does not exist, or the target is among the features.
    """
    if target not in frame.columns:
        hint = suggestion(target, frame.columns, kind="columns")
        if _mostly_numbers(pl.Series(frame.columns)):
            hint = f"{hint}; its first row is taken for the names of the columns, and seems to hold none"
        raise ConfigError("target", target, "no such column", hint=hint)
    if features is None:
        features = [name for name in frame.columns if name != target]
    for name in features:
        if name not in frame.columns:
            raise ConfigError(
                "features", features, f"no column {name!r}", hint=suggestion(name, frame.columns, kind="columns")
            )
    if target in features:
        raise ConfigError("features", features, f"the target {target!r} is among them", hint="leave it out")
    if len(set(features)) < len(features) or not features:
        example = ",".join([name for name in frame.columns if name != target][:2])
        problem = "must be columns, at least one, each of them once"
        raise ConfigError("features", features, problem, hint=f"for example task.features=[{example}]")
    return list(features)


def examined(frame: pl.DataFrame, name: str, *, categorical: bool) -> tuple[pl.Series, Column]:
    """A column as floats (missing: null) or as texts, and what it is.

    Raises:
        ConfigError: where it has no values, holds text among numbers, or is nothing a model can use.
    """
    series = frame[name]
    if series.null_count() == len(series):
        _refuse(name, "has no values")
    if series.dtype.is_numeric() and not categorical:
        series = _finite(series.cast(pl.Float64), name)
        return series, Column(name, "number", series.null_count(), series.drop_nulls().n_unique())
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        series = series.cast(pl.String)
    elif series.dtype in (pl.String, pl.Categorical, pl.Enum):
        series = series.cast(pl.String).str.strip_chars()
        if not categorical:
            _refuse_numbers(series, name)
    else:
        _refuse(name, f"holds values of the type {series.dtype}: neither numbers nor categories")
    distinct = series.drop_nulls().n_unique()
    if distinct > MOST_CATEGORIES or distinct > max(20, len(series) / 2):
        _refuse(name, f"has {distinct} different values in {len(series)} rows: more like a name than a category")
    return series, Column(name, "category", series.null_count(), distinct)


def examined_target(frame: pl.DataFrame, name: str, *, classes: bool) -> tuple[pl.Series, Column]:
    """The same for the target.

    Raises:
        ConfigError: as there; or where it is neither numbers to fit nor few enough classes.
    """
    n = frame[name].drop_nulls().n_unique()
    if classes and n > max(20, len(frame) / 2):
        problem = f"the target {name!r} has {n} different values in {len(frame)} rows: too many for classes"
        raise ConfigError("kind", "classification", problem, hint="use task.kind=regression if it is a number")
    series, column = examined(frame, name, categorical=classes)
    if not classes and column.kind != "number":
        raise ConfigError(
            "kind", "regression", f"the target {name!r} is no number", hint="use task.kind=classification"
        )
    return series, column


def means_classes(frame: pl.DataFrame, target: str) -> bool:
    """Whether a target is for classification unless said otherwise: text, true or false, or few whole numbers."""
    series = frame[target]
    if series.dtype.is_integer():
        return series.drop_nulls().n_unique() <= min(_FEW_VALUES, len(series) // 3)
    return not series.dtype.is_numeric() and not _mostly_numbers(series)


def table(columns: Sequence[Column], target: str) -> str:
    """The columns with their kinds and missing values, a line each."""
    width = max(len(column.name) for column in columns)
    lines = []
    for column in columns:
        role = "target" if column.name == target else "feature"
        missing = f"{column.missing} missing" if column.missing else ""
        lines.append(f"  {column.name:<{width}}  {role:<7}  {column!s:<22}  {missing}".rstrip())
    return "\n".join(lines)


def _finite(series: pl.Series, name: str) -> pl.Series:
    series = series.fill_nan(None)
    infinite = series.is_infinite().fill_null(False)
    if infinite.any():
        row = infinite.arg_true()[0]
        problem = f"column {name!r}, row {row + 1}: {series[row]} is not a finite number; {_rows(int(infinite.sum()))}"
        raise ConfigError("path", "", problem, hint="correct it, or delete it and set task.missing")
    return series


def _mostly_numbers(series: pl.Series) -> bool:
    if series.dtype != pl.String:
        return False
    # 1,5 is a number that was meant, though not one that can be used as it stands.
    numbers = series.str.strip_chars().str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    return numbers.count() > 0.5 * series.count()


def _refuse_numbers(series: pl.Series, name: str) -> None:
    """Raise where texts are numbers but for a few: those are slips, not categories."""
    if not _mostly_numbers(series):
        return
    slips = (series.is_not_null() & series.cast(pl.Float64, strict=False).is_null()).arg_true()
    if not len(slips):
        return
    row = slips[0]
    text = series[row]
    hint = "correct it, or set task.categorical if the column holds categories"
    if text.replace(",", "", 1).isdecimal():
        hint = "set task.decimal=comma if that is how the file writes numbers"
    raise ConfigError(
        "path", "", f"column {name!r}, row {row + 1}: {text!r} is not a number; {_rows(len(slips))}", hint=hint
    )


def _rows(n: int) -> str:
    return "the only such row" if n == 1 else f"{n} such rows"


def _refuse(name: str, problem: str) -> NoReturn:
    hint = "leave it out: list the columns to use in task.features"
    raise ConfigError("path", "", f"column {name!r} {problem}", hint=hint)
