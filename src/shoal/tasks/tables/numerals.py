"""Numbers as people write them: with a comma for decimals, with groups of three digits, with a unit."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import product
from typing import get_args

import polars as pl

from shoal.tasks.tables.format import Decimal, Format, Thousands

_GROUPS: dict[Thousands, str] = {
    "comma": ",",
    "point": r"\.",
    "space": "[ \u00a0\u202f\u2009]",
    "apostrophe": "['\u2019]",
}
_DECIMALS: dict[Decimal, str] = {"point": r"\.", "comma": ","}
_SIGN = "[+\u2212-]?"
_SIGNS = r"%|\u2030|[A-Z]{0,3}\p{Sc}"
"""Per cent, per mille, and currencies with a sign: $, US$."""
_CURRENCIES = "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HUF|INR|JPY|KRW|MXN|NOK|NZD|PLN|RUB|SEK|SGD|TRY|USD|ZAR"
_DIGITS = r"(?:\d[\d.,'\u2019 \u00a0\u202f\u2009]*|[.,]\d+)(?:[eE][+\u2212-]?\d+)?"
_DOUBLE = rf"^({_SIGN}(?:\d+[.,]?\d*|[.,]\d+))[dD]([+\u2212-]\d{{1,3}})$"
"""Fortran's double precision: 1.5D+03."""
_PARENTHESES = r"^\((.*\d.*)\)$"
"""How accountants write what is below zero: (45.12)."""
_MINUS_BEHIND = rf"^((?:{_SIGNS})?\s*\d(?:[\d.,'\u2019 \u00a0\u202f\u2009]*[\d.,])?(?:\s?(?:{_SIGNS}))?)\s?-$"
"""How SAP writes it: 45.12-."""
_DASH = "[\u2012\u2013\ufe63\uff0d]"
"""A minus as word processors write it: a figure dash, an en dash, a small and a wide hyphen."""
_ARABIC = {"\u066b": ".", "\u066c": ","}
"""The marks in Arabic numbers."""
_WRITTEN = rf"^({_SIGN})\s*({_SIGNS}|{_CURRENCIES})?\s*({_SIGN}{_DIGITS})\s*([^\d\s.,'+\u2212:_-].*)?$"
"""Sign, unit before, number, unit behind: any text that begins with a letter or a sign."""


def numbers(texts: pl.Series, decimal: Decimal, thousands: Thousands | None) -> pl.Series:
    """Texts without blanks around them as floats; null where one is no number in this way of writing.

    Groups are of three digits; those before the last may be of two, as in India.
    """
    found = _read(texts, decimal, thousands)
    if found.null_count() > texts.null_count():
        # Only now: hardly a column needs it, and it goes over the texts several times.
        found = _read(_usual(texts), decimal, thousands)
    return found


def _read(texts: pl.Series, decimal: Decimal, thousands: Thousands | None) -> pl.Series:
    texts = without_groups(texts, decimal, thousands)
    if decimal == "comma":
        # 1.5 must not become a number by the same settings as 1,5.
        plain = ~texts.str.contains(".", literal=True).fill_null(False)
        texts = texts.set(~plain, None).str.replace(",", ".", literal=True)
    return texts.cast(pl.Float64, strict=False)


def without_groups(texts: pl.Series, decimal: Decimal, thousands: Thousands | None) -> pl.Series:
    """Numbers without what stands between their groups of digits; other texts as they are."""
    if not thousands:
        return texts
    group, point = _GROUPS[thousands], _DECIMALS[decimal]
    # Checked as a whole first: of 1,5 or 12,34,5 nothing is taken away.
    grouped = texts.str.contains(rf"^{_SIGN}\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:{point}\d*)?$")
    return texts.zip_with(~grouped.fill_null(False), texts.str.replace_all(group, ""))


def apart(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Splits each text into a number and a unit: null if it has no number, an empty unit if it has no unit."""
    parts = _usual(texts).str.extract_groups(_WRITTEN).struct.unnest()
    sign, before, number, behind = (parts[column] for column in parts.columns)
    unit = (before.fill_null("") + behind.fill_null("").str.strip_chars()).set(number.is_null(), None)
    return (sign.fill_null("") + number.str.strip_chars()).rename(texts.name), unit.rename(texts.name)


def meant(texts: pl.Series) -> int:
    """How many texts are numbers in some way of writing, with a sign of a currency or per cent or without."""
    bare = _usual(texts).str.replace_all(rf"{_SIGNS}", "").str.strip_chars()
    found = bare.is_null()
    for decimal, thousands in _ways():
        found |= numbers(bare, decimal, thousands).is_not_null()
    return int(found.sum()) - texts.null_count()


def advice(texts: pl.Series, format: Format) -> str | None:
    """The settings with which more of the texts are numbers; None where there are none, both where two may be."""
    # All ways are tried: it is asked once, for an error.
    counts = {way: numbers(texts, *way).count() for way in _ways()}
    most = max(counts.values())
    if most == numbers(texts, format.decimal, format.thousands).count():
        return None
    best = [way for way, n in counts.items() if n == most]
    # Without groups where that explains as much.
    simple = [way for way in best if way[1] is None] or [way for way in best if way[0] == format.decimal] or best
    decimal, thousands = simple[0]
    if thousands:
        return f"set {_settings(decimal, thousands)}"
    group: Thousands = "comma" if decimal == "comma" else "point"
    other: Decimal = "point" if decimal == "comma" else "comma"
    # 1,5 can be one and a half, or a group of a number's digits; both are offered where both explain all.
    if (other, group) not in best:
        return f"set {_settings(decimal, None)}"
    if _below_a_thousand(texts, group):
        return f"set {_settings(other, group)}"
    example = texts.filter(texts.str.contains(_GROUPS[group]).fill_null(False))[0]
    return (
        f"if {example} is more than a thousand, set {_settings(other, group)}; "
        f"if it is less, {_settings(decimal, None)}"
    )


def _usual(texts: pl.Series) -> pl.Series:
    """Numbers with a hyphen in front for what is below zero, the usual letter for exponents, and digits from 0 to 9."""
    if texts.str.contains(r"[^\x00-\x7f]").any():
        texts = _plain(texts)
    for ending, pattern in ((")", _PARENTHESES), ("-", _MINUS_BEHIND)):
        if texts.str.ends_with(ending).any():
            texts = texts.str.replace(pattern, "-$1")
    return texts.str.replace(_DOUBLE, "${1}e$2")


def _plain(texts: pl.Series) -> pl.Series:
    """Texts with the signs, marks and digits of ASCII, where others stand for them in numbers."""
    # Any script's digits: Unicode knows the value of each.
    digits = {each for text in texts.drop_nulls().unique() for each in text if each.isdecimal() and not each.isascii()}
    plain = {each: str(unicodedata.decimal(each)) for each in sorted(digits)}
    if plain:
        texts = texts.str.replace_many({**plain, **_ARABIC})
    texts = texts.str.replace_all("\u2212", "-", literal=True)
    return texts.str.replace(rf"^{_DASH}\s?([^\w\s-]?\d)", "-$1").str.replace(rf"(\d){_DASH}$", "$1-")


def _below_a_thousand(texts: pl.Series, group: Thousands) -> bool:
    """Whether groups can only be of thousands: one has two of them, or all numbers without a group are below."""
    several = texts.str.count_matches(_GROUPS[group]) > 1
    alone = texts.filter(~texts.str.contains(_GROUPS[group]).fill_null(False)).cast(pl.Float64, strict=False)
    return bool(several.any() or (alone.count() > 0 and (alone.abs() < 1000).all()))


def _settings(decimal: Decimal, thousands: Thousands | None) -> str:
    words = [f"task.decimal={decimal}"] if decimal == "comma" or not thousands else []
    return " ".join([*words, *([f"task.thousands={thousands}"] if thousands else [])])


def _ways() -> Iterator[tuple[Decimal, Thousands | None]]:
    """Every way of writing numbers, the simplest first."""
    for thousands, decimal in product((None, *get_args(Thousands)), get_args(Decimal)):
        if thousands != decimal:
            yield decimal, thousands
