"""Which columns of a table are used, and the kind of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

import polars as pl

from shoal.errors import ConfigError, suggestion
from shoal.tasks.tables import inference
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.header import mostly_numbers
from shoal.tasks.tables.kinds import Category, Kind, Number, UnreadableError, texts, without_zeros
from shoal.tasks.tables.numerals import advice, apart

MOST_CATEGORIES = 1000
_FEW_VALUES = 10
"""A whole-number target with at most so many distinct values, three rows to each, is taken for classes."""

_FEW_MARKS = 4
"""Different texts among numbers that may all stand for a missing value."""
_PLAIN = re.compile(r"[\w./%*@?+-]+")
"""What needs no quotation marks on the command line."""
_TIMES = r"^\d{1,3}:\d{2}(?::\d{2}(?:[.,]\d+)?)?$"


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
        if isinstance(self.kind, Category):
            return f"category, {self.distinct} values"
        unit = self.kind.unit if isinstance(self.kind, Number) else ""
        return f"{self.kind.name} in {unit}" if unit else self.kind.name


def chosen(
    frame: pl.DataFrame,
    targets: Sequence[str],
    features: Sequence[str] | None,
    *,
    without: Collection[str],
    left_out: Sequence[str],
) -> list[str]:
    """The features that are asked for, or else all columns but the targets, `without` and `left_out`.

    Raises:
        ConfigError: where a column does not exist, or a target is among the features.
    """
    for name in left_out:
        if name not in frame.columns:
            raise ConfigError(
                "exclude", left_out, f"no column {name!r}", hint=suggestion(name, frame.columns, kind="columns")
            )
    for target in targets:
        if target in left_out:
            raise ConfigError("exclude", left_out, f"the target {target!r} is among them", hint="leave it out")
    if features is None:
        features = [name for name in frame.columns if name not in (*targets, *without, *left_out)]
    for name in features:
        if name not in frame.columns:
            raise ConfigError(
                "features", features, f"no column {name!r}", hint=suggestion(name, frame.columns, kind="columns")
            )
        if name in left_out:
            raise ConfigError("exclude", left_out, f"{name!r} is in task.features too", hint="leave it out of one")
    if not features and frame.width == 1:
        raise ConfigError("target", targets[0], "is the only column: there is nothing to predict it from")
    for target in targets:
        if target in features:
            raise ConfigError("features", features, f"the target {target!r} is among them", hint="leave it out")
    if len(set(features)) < len(features) or not features:
        example = ",".join([name for name in frame.columns if name not in targets][:2])
        problem = "must be columns, at least one, each of them once"
        raise ConfigError("features", features, problem, hint=f"for example task.features=[{example}]")
    return list(features)


def examined(
    frame: pl.DataFrame, name: str, format: Format, *, categorical: bool = False, numeric: bool = False
) -> tuple[pl.Series, Column]:
    """The values of a column (missing: null), and what it is.

    Raises:
        ConfigError: where it has no values, holds text among numbers, or is nothing a model can use.
    """
    cells = frame[name]
    # Lists and bytes have no texts: of these only the nulls count.
    if texts(cells, format).null_count() == len(cells) if _flat(cells) else cells.null_count() == len(cells):
        _refuse(name, "has no values")
    kind = inference.kind(cells, format, categorical=categorical, numeric=numeric)
    if kind is None:
        _refuse(name, f"holds values of the type {cells.dtype}: neither numbers nor categories")
    values = _values(cells, kind, format)
    distinct = values.drop_nulls().n_unique()
    # An input for each: names of customers would make a model of thousands of inputs, and learn each by heart.
    if isinstance(kind, Category) and (distinct > MOST_CATEGORIES or distinct > max(20, len(cells) / 2)):
        _refuse_names(values, name, distinct)
    return values, Column(name, kind, values.null_count(), distinct)


def examined_target(
    frame: pl.DataFrame, name: str, format: Format, *, classes: bool, numeric: bool
) -> tuple[pl.Series, Column]:
    """The values of the target, and what it is.

    Raises:
        ConfigError: as there; or where it is neither numbers to fit nor few enough classes.
    """
    n = frame[name].drop_nulls().n_unique()
    if classes and n > max(20, len(frame) / 2):
        problem = f"the target {name!r} has {n} different values in {len(frame)} rows: too many for classes"
        raise ConfigError("kind", "classification", problem, hint="use task.kind=regression if it is a number")
    values, column = examined(frame, name, format, categorical=classes, numeric=numeric)
    if not classes and not isinstance(column.kind, Number):
        noun = "a date" if column.kind.name == "date" else "no number"
        hint = "predict another column" if noun == "a date" else "use task.kind=classification"
        raise ConfigError("kind", "regression", f"the target {name!r} is {noun}", hint=hint)
    return values, column


def means_classes(frame: pl.DataFrame, target: str, format: Format, *, numeric: bool) -> bool:
    """Whether a target is for classification unless said otherwise: text, true or false, or few whole numbers."""
    cells = frame[target]
    kind = inference.kind(cells, format, numeric=numeric) if _flat(cells) else None
    if isinstance(kind, Number) and not kind.unit and inference.whole(cells, format):
        # As they are written: of whole numbers that are too long for a float all may be the same float.
        return without_zeros(texts(cells, format)).drop_nulls().n_unique() <= min(_FEW_VALUES, len(cells) // 3)
    return isinstance(kind, Category)


def _flat(cells: pl.Series) -> bool:
    return not cells.dtype.is_nested() and cells.dtype != pl.Binary


def check_target(frame: pl.DataFrame, target: str) -> None:
    """Refuse a target that is no column.

    Raises:
        ConfigError: with the nearest name.
    """
    if target in frame.columns:
        return
    hint = suggestion(target, frame.columns, kind="columns")
    if frame.width == 1 and target in frame.columns[0].split():
        hint = f"the one column is {frame.columns[0]!r}: set task.delimiter=space"
    if mostly_numbers(frame.columns):
        hint = "its first row is taken for the names of the columns, and seems to hold none: set task.header=false"
    raise ConfigError("target", target, "no such column", hint=hint)


def _values(cells: pl.Series, kind: Kind, format: Format) -> pl.Series:
    try:
        return kind.read(cells, format)
    except UnreadableError as error:
        row, n = error.rows[0], len(error.rows)
        many = "the only such row" if n == 1 else f"{n} such rows"
        # Rows count from 1 after the header, as everywhere in errors.
        problem = f"column {cells.name!r}, row {row + 1}: {_shown(error.value)} {error.problem}; {many}"
        raise ConfigError("path", "", problem, hint=_way_out(cells, error, kind, format)) from error


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _way_out(cells: pl.Series, error: UnreadableError, kind: Kind, format: Format) -> str:
    if cells.dtype.is_numeric() or "finite" in error.problem:
        return "correct it, or delete it and set task.missing"
    known = texts(cells, format).drop_nulls()
    if isinstance(kind, Number):
        bare = apart(known)[0] if kind.unit else known
        found = advice(bare.drop_nulls(), format)
        if found:
            return f"{found} if that is how the file writes numbers" if found.startswith("set") else found
    slips = cells.gather(list(error.rows)).str.strip_chars().unique(maintain_order=True).to_list()
    # `...` keeps the usual marks beside the new ones.
    marks = ",".join(["...", *(slip if _PLAIN.fullmatch(slip) else f"'{slip}'" for slip in slips)])
    it = "it" if len(slips) == 1 else "them"
    stands = "it stands" if len(slips) == 1 else "they stand"
    missing = f"correct {it}"
    if len(slips) <= _FEW_MARKS:
        missing += f", or add {it} to task.missing_values=[{marks}] if {stands} for no value"
    # The first row alone: units, or a second header, stand there.
    if list(error.rows) == [0]:
        missing = f"delete the row if it holds units or more names; {missing}"
    return f"{missing}, or set task.categorical=[{cells.name}] if the column holds categories"


def _refuse_names(values: pl.Series, name: str, distinct: int) -> NoReturn:
    # Digits alone, which were taken for codes because of zeros before them.
    zeros = values.str.contains(r"^\d+$").all()
    told = f" of digits as {values.drop_nulls()[0]!r}" if zeros else ""
    problem = (
        f"column {name!r} has {distinct} different values{told} in {len(values)} rows: more like a name than a category"
    )
    if values.drop_nulls().str.contains(_TIMES).all():
        problem = f"column {name!r} holds times or durations as {values.drop_nulls()[0]!r}, which are no numbers"
        raise ConfigError("path", "", problem, hint=f"write 12:30 as 12.5, or leave it out: task.exclude=[{name}]")
    numbers = f", or set task.numeric=[{name}] if they are numbers" if zeros else ""
    raise ConfigError("path", "", problem, hint=f"leave it out: task.exclude=[{name}]{numbers}")


def _refuse(name: str, problem: str) -> NoReturn:
    raise ConfigError("path", "", f"column {name!r} {problem}", hint=f"leave it out: task.exclude=[{name}]")
