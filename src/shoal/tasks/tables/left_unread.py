"""What is lost between the cells of a column and its values: time zones, the last digits of long whole numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.dates import zones
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Date, Number, texts
from shoal.tasks.tables.numerals import apart, without_groups

_LONG = r"^([+-]?\d{16,})(?:[.,]\d*)?$"
"""A number that has more digits before its point than a float64, of 15 to 17 digits, may be able to hold."""


def warnings(frame: pl.DataFrame, columns: Sequence[Column], format: Format) -> Iterator[str]:
    """What to say of such columns, a line for each."""
    for column in columns:
        cells = frame[column.name]
        if isinstance(column.kind, Date) and cells.dtype == pl.String:
            found = zones(texts(cells, format).drop_nulls())
            if len(found) > 1:
                yield (
                    f"warning: {column.name} holds times of several zones ({', '.join(found)}), each taken as it is "
                    "written; write them in one zone"
                )
        elif isinstance(column.kind, Number):
            written = texts(cells, format).drop_nulls()
            bare = apart(written)[0] if column.kind.unit else written
            rounded = _rounded(without_groups(bare, format.decimal, format.thousands))
            if rounded:
                yield (
                    f"warning: {column.name} holds {rounded}, whose last digits are lost, as of any number of more "
                    f"than 15; subtract what all have in common, or set task.categorical=[{column.name}] for names"
                )


def _rounded(cells: pl.Series) -> str | None:
    """The first number before whose point a float64 has other digits."""
    long = cells.str.extract(_LONG).drop_nulls().unique(maintain_order=True)
    # Compared as whole numbers, of which Python's have all digits.
    return next((each for each in long if int(each) != int(float(each))), None)
