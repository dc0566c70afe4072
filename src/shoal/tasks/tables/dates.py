"""Dates: from the ways in which they are written to what a model can use of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

import polars as pl

from shoal.tasks.tables.format import DateOrder

_ZONE = r"Z|UTC|[+-]\d{2}(?::?\d{2})?"
_TIME = rf"(?:[T ,]+(\d{{1,2}}):(\d{{2}})(?::(\d{{2}}(?:\.\d+)?))?\s*([AaPp][Mm])?)?\s*(?:{_ZONE})?$"
_MONTH = r"(\d{1,2}|[A-Za-z]{3,9})"
_BETWEEN = r"(?:[-/.]|\.? |, )"
_WRITTEN: dict[DateOrder, str] = {
    "ymd": rf"^(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){_TIME}",
    "dmy": rf"^(\d{{1,2}}){_BETWEEN}{_MONTH}{_BETWEEN}(\d{{4}}|\d{{2}}){_TIME}",
    "mdy": rf"^{_MONTH}{_BETWEEN}(\d{{1,2}}){_BETWEEN}(\d{{4}}|\d{{2}}){_TIME}",
}
_MONTH_OF_YEAR = r"^\d{4}[-/]\d{1,2}$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CENTURY = 69
"""Years of two digits from this one on are of the 20th century, as POSIX has it."""
_DAY = 24 * 60 * 60


def moments(texts: pl.Series, order: DateOrder) -> pl.Series:
    """Texts without blanks around them as dates with times; null where one is none in this order.

    The time is the one that is written: a time zone behind it is passed over. A month, 2026-01, is its first day.
    """
    # In expressions over the whole column: cell by cell in Python it would take far longer.
    parts = texts.str.replace(_MONTH_OF_YEAR, "$0-01").str.extract_groups(_WRITTEN[order]).struct.unnest()
    *first, hour, minute, second, half = (parts[column] for column in parts.columns)
    day_month_year = dict(zip(order, first, strict=True))
    date = pl.DataFrame(
        {
            "year": _year(day_month_year["y"]),
            "month": _month(day_month_year["m"]),
            "day": day_month_year["d"].cast(pl.Int32),
            "hour": _hour(hour, half),
            "minute": minute.cast(pl.Int32).fill_null(0),
            "second": second.cast(pl.Float64).fill_null(0.0),
        }
    )
    # By way of a text, whose reader gives null for a 31st of February.
    written = date.select(
        pl.format("{}-{}-{} {}:{}:{}", "year", "month", "day", "hour", "minute", pl.col("second").cast(pl.Int32))
    ).to_series()
    found = written.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    # By itself: the format takes whole seconds.
    fraction = (date["second"] % 1 * 1e6).round().cast(pl.Int64)
    return (found + fraction.cast(pl.Duration("us"))).rename(texts.name)


def orders(texts: pl.Series, given: DateOrder | None) -> list[DateOrder]:
    """The orders in which every text is a date; without a `given` one, years have four digits."""
    # Between points the day comes first; between slashes it may be the month.
    dotted = texts.str.contains(r"^\d{1,2}\.\d{1,2}\.").fill_null(True).all()
    tried: list[DateOrder] = ["ymd", given] if given else ["ymd", "dmy"] if dotted else list(get_args(DateOrder))
    # With two digits of a year any of the three numbers may be it.
    short = texts.str.contains(r"^(?:\d{1,2}|[A-Za-z]+)[-/., ]+\w{1,9}[-/., ]+\d{2}(?:[T ,]|$)").any()
    if short and not given:
        return []
    return [order for order in dict.fromkeys(tried) if moments(texts, order).null_count() == texts.null_count()]


def zones(texts: pl.Series) -> list[str]:
    """The time zones behind dates with times, sorted; `none` for those without one where others have one."""
    found = texts.str.extract(rf":\d{{2}}(?:\.\d+)?\s*([AaPp][Mm])?\s*({_ZONE})$", 2)
    known = found.str.replace(r"^(?:Z|UTC|[+-]00(?::?00)?)$", "UTC").str.replace(r"^([+-]\d{2}):?(\d{2})$", "$1:$2")
    names = known.str.replace(r"^([+-]\d{2})$", "$1:00").fill_null("none").unique().sort().to_list()
    return names if names != ["none"] else []


def n_dates(texts: pl.Series, given: DateOrder | None) -> int:
    """How many texts are dates in the order that fits most."""
    return max(
        moments(texts, order).count() for order in get_args(DateOrder) if given in (None, order) or order == "ymd"
    )


def inputs(times: pl.Series, *, hours: bool) -> Iterator[tuple[str, pl.Series]]:
    """The inputs that dates become, by name: the year with its fraction, and month, weekday and hour as circles."""
    # The end of December is next to the beginning of January, in a leap year too.
    days = 365 + times.dt.is_leap_year().cast(pl.Float64)
    seconds = (times.dt.hour().cast(pl.Float64) * 60 + times.dt.minute()) * 60 + times.dt.second()
    yield "year", times.dt.year() + (times.dt.ordinal_day() - 1 + seconds / _DAY) / days
    circles = {"month": (times.dt.month() - 1) / 12, "weekday": (times.dt.weekday() - 1) / 7}
    for name, turn in (circles | ({"hour": seconds / _DAY} if hours else {})).items():
        # As circles: December is as near to January as to November.
        yield f"{name}_sin", (turn * math.tau).sin()
        yield f"{name}_cos", (turn * math.tau).cos()


def _year(texts: pl.Series) -> pl.Series:
    year = texts.cast(pl.Int32)
    short = (texts.str.len_chars() == 2).fill_null(False)
    century = (year < _CENTURY).fill_null(False)
    # In polars `zip_with` takes the values of the series where the mask holds.
    return year.zip_with(~short, (year + 1900).zip_with(~century, year + 2000))


def _month(texts: pl.Series) -> pl.Series:
    named = (
        texts.str.slice(0, 3)
        .str.to_lowercase()
        .replace_strict(list(_MONTHS), list(range(1, 13)), default=None, return_dtype=pl.Int32)
    )
    return texts.cast(pl.Int32, strict=False).fill_null(named)


def _hour(texts: pl.Series, half: pl.Series) -> pl.Series:
    # 12 am is midnight and 12 pm is noon.
    hour = texts.cast(pl.Int32).fill_null(0)
    half = half.str.to_lowercase().fill_null("")
    return hour.zip_with(half == "", hour % 12 + 12 * (half == "pm").cast(pl.Int32))
