"""Where the rows of a text file begin, and what the columns are called."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from shoal.tasks.tables.format import DELIMITERS, Delimiter, Format

UNNAMED = "Unnamed: "
"""What pandas calls a column without a name, its number after it."""
_LOOKED_AT = 20
"""Rows that show whether the header leaves out the names of the rows."""


@dataclass(frozen=True)
class Head:
    """What stands before the rows."""

    names: tuple[str, ...]
    """Of the columns; empty where there is none."""
    separator: str
    ends: int
    """The byte at which the rows begin."""
    notes: tuple[str, ...] = ()


def head(data: bytes, delimiter: Delimiter, format: Format) -> Head:
    """The names of the columns, from the first row; `sep=;` or lines with `#` may stand before it.

    Where the rows have one cell more than the header and begin with a text, as R writes them, that is the row's name.
    """
    at = 0
    # By line feeds: what is skipped need not be a table, nor its quotes be closed.
    for _ in range(format.skip_rows):
        at = _next_line(data, at)
    separator, at, notes = _announced(data, _without_blank_lines(data, at), DELIMITERS[delimiter], format)
    names, at = _commented(data, at, separator)
    if format.header and not names:
        names, at = _record(data, at, separator)
        names = _with_row_names(names, data, at, separator)
    elif not names:
        names = [f"column_{i}" for i in range(1, len(_record(data, at, separator)[0]) + 1)]
    return Head(tuple(_named(names)), separator, at, notes)


def records(data: bytes, separator: str, at: int = 0) -> Iterator[list[str]]:
    """The rows of a text from byte `at` on."""
    # Python's reader: it is for a few rows, and it can say where a row ends.
    yield from csv.reader(_lines(data, at), delimiter=separator, skipinitialspace=separator != " ")


def is_number(text: str) -> bool:
    """Whether a text is meant as a number, as `1,5` is, in whatever way it is written."""
    try:
        float(text.strip().replace(",", "."))
    except ValueError:
        return False
    return True


def mostly_numbers(texts: Sequence[str]) -> bool:
    """Whether more than half of the texts are."""
    return sum(map(is_number, texts)) > 0.5 * len(texts)


def _announced(data: bytes, at: int, separator: str, format: Format) -> tuple[str, int, tuple[str, ...]]:
    """The separator that Excel's first line `sep=;` gives, and where the rest begins."""
    end = _next_line(data, at)
    line = data[at:end].decode().strip("\n\"' ")
    # One letter: `sep=` may as well be the name of a column.
    if not line.lower().startswith("sep=") or len(line) > len("sep=;"):
        return separator, at, ()
    found = line[len("sep=") :] or "\t"  # stripped with the line's end
    ignored = format.delimiter is not None and found != separator
    return found, end, (f"its first line says {line!r}, against task.delimiter",) if ignored else ()


def _commented(data: bytes, at: int, separator: str) -> tuple[list[str], int]:
    """Pass over lines that begin with `#`; the names in the last of them where it is the header of numbers."""
    last, start = b"", at
    while data[at : at + 1] == b"#":
        end = _next_line(data, at)
        last, at = data[at:end], _without_blank_lines(data, end)
    names, first = next(records(last.lstrip(b"# "), separator), []), next(records(data, separator, at), [])
    # As numpy.savetxt writes a header, and gnuplot reads it.
    if len(names) == len(first) > 0 and mostly_numbers(first) and not any(map(is_number, names)):
        return names, at
    # With nothing behind them, the lines are the table itself.
    return [], at if first else start


def _record(data: bytes, at: int, separator: str) -> tuple[list[str], int]:
    """The first row from byte `at` on, which may go over several lines, and where the next one begins."""
    reader = csv.reader(_lines(data, at), delimiter=separator, skipinitialspace=separator != " ")
    row = next(reader, [])
    # A row with line ends in its quotes is several lines.
    for _ in range(reader.line_num):
        at = _next_line(data, at)
    return row, at


def _with_row_names(names: list[str], data: bytes, at: int, separator: str) -> list[str]:
    rows = list(islice(records(data, separator, at), _LOOKED_AT))
    # R quotes the names of rows, even those that are numbers.
    named = data[at : at + 1] == b'"' or not any(is_number(row[0]) for row in rows if row)
    if len(rows) > 1 and named and all(len(row) == len(names) + 1 for row in rows):
        return ["", *names]
    return names


def _named(names: Sequence[str]) -> Iterator[str]:
    for i, name in enumerate(names):
        yield name.strip() or f"{UNNAMED}{i}"


def _lines(data: bytes, at: int) -> io.TextIOWrapper:
    source = io.BytesIO(data)
    source.seek(at)
    return io.TextIOWrapper(source, encoding="utf-8", newline="")


def _next_line(data: bytes, at: int) -> int:
    """The byte after the end of the line."""
    return data.find(b"\n", at) + 1 or len(data)


def _without_blank_lines(data: bytes, at: int) -> int:
    while at < len(data) and not data[at : _next_line(data, at)].strip():
        at = _next_line(data, at)
    return at
