"""How the cells of a table are written: the settings that reading a file for training and for predicting share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Delimiter = Literal["comma", "semicolon", "tab", "pipe", "space"]
Decimal = Literal["point", "comma"]
Thousands = Literal["comma", "point", "space", "apostrophe"]
DateOrder = Literal["ymd", "dmy", "mdy"]

DELIMITERS: dict[Delimiter, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
MISSING = ("NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NaN", "nan", "NaT", "NULL", "Null", "null", "None", "?")
"""What stands for a missing value, as R, pandas, Excel and databases write it; an empty cell does everywhere."""

USUAL = "..."
"""Among what stands for a missing value: all those that do unless it is said."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a table is written."""

    delimiter: Delimiter | None = None
    """What separates the columns; None for a comma, in .tsv and .tab a tab."""
    decimal: Decimal = "point"
    """What separates the decimals of a number."""
    thousands: Thousands | None = None
    """What stands between groups of three digits."""
    missing_values: tuple[str | int | float, ...] = MISSING
    """What stands for a missing value, beside an empty cell."""
    dates: DateOrder | None = None
    """The order of day, month and year where the year does not come first; None for the only possible one."""
    encoding: str | None = None
    """Python's name of the encoding; None for UTF-8, or UTF-16, or else cp1252."""
    header: bool = True
    """Whether the first row has the names of the columns."""
    skip_rows: int = 0
    """Lines before that row."""

    @property
    def marks(self) -> list[str]:
        """Texts that stand for a missing value."""
        return ["", *map(str, self._missing)]

    @property
    def missing_numbers(self) -> list[float]:
        """Numbers that do."""
        return [number for number in map(_number, self._missing) if number is not None]

    @property
    def _missing(self) -> Iterator[str | int | float]:
        """What was given, the usual ones in the place of `...`."""
        for value in self.missing_values:
            yield from MISSING if value == USUAL else (value,)


def _number(value: str | int | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
