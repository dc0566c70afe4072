"""Tells what a column holds from its cells."""

from __future__ import annotations

from typing import get_args

import polars as pl

from shoal.errors import ConfigError
from shoal.tasks.tables import dates
from shoal.tasks.tables.format import DateOrder, Format
from shoal.tasks.tables.kinds import CASES, Category, Date, Kind, Number, texts, without_zeros
from shoal.tasks.tables.numerals import apart, meant, numbers

_CODE = r"^0\d+$"
"""A number with a zero before it is a code: 01067 is not 1067."""


def kind(cells: pl.Series, format: Format, *, categorical: bool = False, numeric: bool = False) -> Kind | None:
    """What a column holds, unless it is said; None where it is nothing a model can use.

    Texts that are numbers, or dates, but for a few are those all the same: the few are slips.

    Raises:
        ConfigError: where dates may be read in two ways.
    """
    # A Parquet file says what its columns are.
    if cells.dtype.is_numeric() and not categorical:
        return Number()
    if cells.dtype == pl.Date or isinstance(cells.dtype, pl.Datetime):
        return Date()
    if not (cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)):
        return None
    known = texts(cells, format).drop_nulls()
    if categorical or cells.dtype in (pl.Boolean, pl.Categorical, pl.Enum):
        return _category(known)
    # Before numbers: as a number 01067 would lose its zero, and 99 would be near to it.
    if not numeric and known.str.contains(r"^\d+$").all() and known.str.contains(_CODE).any():
        return Category()
    if not _has_digits(known):
        return _category(known)
    # Numbers before dates, as 2024.01 is one; then what all but a few cells are.
    return _number(known, format, numeric=numeric) or _date(known, format) or _slips(known, format) or _category(known)


def whole(cells: pl.Series, format: Format) -> bool:
    """Whether all values of a column are whole numbers that are no codes."""
    if cells.dtype.is_numeric():
        return bool((cells.drop_nulls().cast(pl.Float64).fill_nan(None).drop_nulls() % 1 == 0).all())
    found = without_zeros(texts(cells, format).drop_nulls())
    return bool(found.str.contains(r"^[+-]?(?:0|[1-9]\d*)$").all())


def _has_digits(known: pl.Series) -> bool:
    """Whether half of the texts or more have a digit: others are not worth a closer look."""
    return int(known.str.contains(r"\d").sum()) >= len(known) / 2


def _number(known: pl.Series, format: Format, *, numeric: bool) -> Number | None:
    if numeric or not numbers(known, format.decimal, format.thousands).null_count():
        return Number()
    unit = _unit(known)
    return Number(unit) if unit else None


def _unit(known: pl.Series) -> str | None:
    """The unit that every text has, where there is one."""
    _, units = apart(known)
    found = units.unique()
    return found[0] if len(found) == 1 else None


def _date(known: pl.Series, format: Format) -> Date | None:
    possible = dates.orders(known, format.dates)
    if not possible:
        return None
    # Two orders are no matter where they give the same dates, as 05/05/2024 does.
    if len(possible) > 1 and not (dates.moments(known, possible[0]) == dates.moments(known, possible[1])).all():
        problem = f"column {known.name!r}: {known[0]!r} may be read with the day first, or with the month first"
        raise ConfigError("path", "", problem, hint="set task.dates=dmy or task.dates=mdy")
    return Date(possible[0])


def _slips(known: pl.Series, format: Format) -> Kind | None:
    """The kind that all but a few cells of the column have."""
    if meant(known) > len(known) / 2:
        signed = apart(known)[1].drop_nulls().mode().sort()
        return Number(signed[0] if len(signed) and meant(known) and signed[0] else "")
    if dates.n_dates(known, format.dates) > len(known) / 2:
        return Date(max(get_args(DateOrder), key=lambda order: dates.moments(known, order).count()))
    return None


def _category(known: pl.Series) -> Category:
    if known.str.to_lowercase().is_in(["true", "false"]).all():
        # As most of them are written: predictions are written so, too.
        return Category(max(CASES, key=lambda style: int(known.is_in(CASES[style]).sum())))
    codes = without_zeros(known).str.contains(r"^[+-]?(?:0|[1-9]\d*)$").all()
    return Category("whole" if codes else "text")
