"""What a column holds: numbers, categories or dates. Found in training and kept: new rows are read by it alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import polars as pl

from shoal.tasks.tables import dates
from shoal.tasks.tables.format import DateOrder, Format
from shoal.tasks.tables.numerals import apart, numbers

_EXACT = 2**53
"""Whole numbers up to here are what they seem as floats."""


class UnreadableError(Exception):
    """Cells that are not what their column holds."""

    def __init__(self, rows: Sequence[int], value: object, problem: str) -> None:
        self.rows = rows
        """Counted from 0."""
        self.value = value
        """The first of them."""
        self.problem = problem
        super().__init__(f"{value!r} {problem}")


@dataclass(frozen=True)
class Kind(ABC):
    """What a column holds."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, cells: pl.Series, format: Format) -> pl.Series:
        """The values: floats, texts or dates with times; null where one is missing.

        Raises:
            UnreadableError: for the cells that hold something else.
        """

    def plain(self) -> dict[str, Any]:
        """The kind as a checkpoint holds it."""
        return {"kind": self.name, **asdict(self)}


@dataclass(frozen=True)
class Number(Kind):
    """Finite numbers."""

    name: ClassVar[str] = "number"
    unit: str = ""
    """What every cell that is a text has before or behind the number."""

    def read(self, cells: pl.Series, format: Format) -> pl.Series:
        if cells.dtype.is_numeric():
            found = cells.cast(pl.Float64)
        else:
            cells = texts(cells, format)
            found = self._numbers(cells, format)
            _refuse(cells, found, f"is not a number{f' with {self.unit!r}' if self.unit else ''}")
        found = found.fill_nan(None)
        # A mark as -999 may be a number here and a text there.
        found = found.set(found.is_in(format.missing_numbers), None)
        rows = found.is_infinite().fill_null(False).arg_true().to_list()
        if rows:
            raise UnreadableError(rows, found[rows[0]], "is not a finite number")
        return found

    def _numbers(self, cells: pl.Series, format: Format) -> pl.Series:
        if self.unit:
            cells, unit = apart(cells)
            # Of another unit it is another number, which must not be read as one of these.
            cells = cells.set((unit != self.unit).fill_null(False), None)
        return numbers(cells, format.decimal, format.thousands)


Style = Literal["text", "whole", "boolean", "Boolean", "BOOLEAN"]
CASES: Mapping[Style, tuple[str, str]] = {
    "boolean": ("true", "false"),
    "Boolean": ("True", "False"),
    "BOOLEAN": ("TRUE", "FALSE"),
}
"""How the two are written, by style."""


@dataclass(frozen=True)
class Category(Kind):
    """Names of categories: texts, or numbers that stand for them."""

    name: ClassVar[str] = "category"
    style: Style = "text"
    """`text`: as written, but for blanks around it. `whole`: 1, 1.0 and 1.00 are the same. So are True, TRUE and true,
    which are called as the style is written: boolean, Boolean or BOOLEAN."""

    def read(self, cells: pl.Series, format: Format) -> pl.Series:
        found = texts(cells, format)
        if self.style in CASES:
            return found.str.to_lowercase().replace(dict(zip(("true", "false"), CASES[self.style], strict=True)))
        if self.style == "whole":
            return texts(without_zeros(found), format)
        return found


@dataclass(frozen=True)
class Date(Kind):
    """Dates, with or without times."""

    name: ClassVar[str] = "date"
    order: DateOrder = "ymd"
    """How they are written."""

    def read(self, cells: pl.Series, format: Format) -> pl.Series:
        if isinstance(cells.dtype, pl.Datetime):
            # The time as it is written, as of texts: the zone is passed over.
            return cells.dt.replace_time_zone(None).cast(pl.Datetime("us"))
        if cells.dtype == pl.Date:
            return cells.cast(pl.Datetime("us"))
        cells = texts(cells, format)
        found = dates.moments(cells, self.order)
        _refuse(cells, found, f"is not a date as {_EXAMPLES[self.order]} is")
        return found


_EXAMPLES = {"ymd": "2026-01-31", "dmy": "31.01.2026", "mdy": "01/31/2026"}
_KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Number, Category, Date)}


def restored(plain: Mapping[str, Any]) -> Kind:
    """The kind that `plain` describes. For a column that an earlier version fitted it is inferred from its keys."""
    # Only these: what was fitted stands beside them.
    known = {name: plain[name] for name in ("unit", "style", "order") if name in plain}
    return _KINDS[plain.get("kind", "category" if "categories" in plain else "number")](**known)


def texts(cells: pl.Series, format: Format) -> pl.Series:
    """Cells as texts without blanks around them, whole numbers without a point; null for what stands for no value."""
    if cells.dtype == pl.Boolean:
        cells = cells.cast(pl.String)
    elif cells.dtype.is_decimal():
        # Not by way of a float, in which a long one loses its last digits.
        cells = cells.cast(pl.String).str.replace(r"(\.\d*?)0+$", "$1").str.replace(r"\.$", "")
    elif cells.dtype.is_float():
        cells = cells.cast(pl.Float64).fill_nan(None)
        whole = ((cells % 1 == 0) & (cells.abs() < _EXACT)).fill_null(False)
        cells = cells.cast(pl.String).zip_with(~whole, cells.set(~whole, None).cast(pl.Int64).cast(pl.String))
    found = cells.cast(pl.String).str.strip_chars()
    return found.set(found.is_in(format.marks), None)


def without_zeros(cells: pl.Series) -> pl.Series:
    """Whole numbers that are written with decimals, as pandas does where a value is missing, without them."""
    return cells.str.replace(r"^([+-]?\d+)[.,]0+$", "$1")


def _refuse(cells: pl.Series, found: pl.Series, problem: str) -> None:
    """Raise for the cells of which nothing was found."""
    rows = (found.is_null() & cells.is_not_null()).arg_true().to_list()
    if rows:
        raise UnreadableError(rows, cells[rows[0]], problem)
