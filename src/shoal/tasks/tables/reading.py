"""Reads a table from a file. What is wrong with the file is said with the row, and how many such rows there are.

The cells of a text file stay texts here: what the columns hold is for `kinds` to say, once, in training.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NoReturn

import polars as pl
from polars.exceptions import PolarsError

from shoal.errors import ConfigError, first_line, nearest
from shoal.relative_paths import located
from shoal.tasks.tables.format import DELIMITERS, Format
from shoal.tasks.tables.header import UNNAMED, Head, head, mostly_numbers, records
from shoal.tasks.tables.opening import opened

_TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".feather", ".ipc")
_PACKED = (".gz", ".bz2", ".xz")

_LOOKED_AT = 100
"""Rows that tell how quotes within cells are written."""


@dataclass(frozen=True)
class Read:
    """A table as it stands in its file; the cells of a text file are texts."""

    frame: pl.DataFrame
    separator: str = ","
    """What separates the columns of a text file."""
    unnamed: tuple[str, ...] = ()
    """The first columns, where they have no name: those of rows."""
    notes: tuple[str, ...] = ()
    """What was guessed or left out."""


def read(path: Path, format: Format) -> Read:
    """The table in a CSV, Parquet, Arrow or Feather file, by its extension. Read once while the file stays the same.

    Raises:
        ConfigError: where there is no such file, or it holds no table.
    """
    if not path.is_file():
        _refuse_path(path)
    if not path.stat().st_size:
        _refuse(path, "is empty")
    # Time and size are part of the key: a file that was written meanwhile is read again.
    return _read(path.resolve(), path.stat().st_mtime_ns, path.stat().st_size, format)


@lru_cache(maxsize=2)
def _read(path: Path, modified: int, size: int, format: Format) -> Read:
    del modified, size
    try:
        found = _text(path, format) if _extension(path) in _TEXT else Read(_columnar(path))
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror or error}")
    if not len(found.frame):
        _refuse(path, "has a header but no rows" if found.frame.columns else "is empty")
    return found


def _columnar(path: Path) -> pl.DataFrame:
    extension = _extension(path)
    if extension not in _PARQUET + _ARROW:
        known = ", ".join(_TEXT + _PARQUET + _ARROW)
        hint = "save it as CSV" if extension in (".xlsx", ".xls", ".ods") else f"known are {known}"
        _refuse(path, f"has the extension {extension or '(none)'}, which no reader is for", hint=hint)
    try:
        return pl.read_parquet(path) if extension in _PARQUET else pl.read_ipc(path)
    except PolarsError as error:
        _refuse(path, f"is no {'Parquet' if extension in _PARQUET else 'Arrow'} file: {first_line(error)}")


def _text(path: Path, format: Format) -> Read:
    delimiter = format.delimiter or ("tab" if _extension(path) in (".tsv", ".tab") else "comma")
    found = opened(path, format.encoding)
    data = _single_blanks(found.data) if delimiter == "space" else found.data
    start = head(data, delimiter, format)
    if _escapes(data, start.separator):
        data = _doubled(data)
        start = head(data, delimiter, format)
    if not start.names:
        _refuse(path, "is empty")
    _check_names(path, start)
    frame = _cells(path, start, _trimmed(data[start.ends :], start.separator))
    filled = _filled(frame)
    empty = len(frame) - len(filled)
    notes = [found.note, f"{empty} empty {'row' if empty == 1 else 'rows'} left out" if empty else None]
    return _named(path, filled, start, [note for note in notes if note])


def _escapes(data: bytes, separator: str) -> bool:
    """Whether a quote within a cell is written with a backslash before it, instead of twice.

    A backslash may stand at the end of a cell, too: what tells is that a cell would go on behind its last quote, or
    that rows would not be of one length.
    """
    if b'\\"' not in data:
        return False
    # Something other than a separator or a line's end behind the quote: the cell goes on.
    beyond = re.search(rb'\\"[^"\n' + re.escape(separator).encode() + rb"]", data)
    usual, escaped = (_widths(each, separator) for each in (data, _doubled(data)))
    return len(escaped) == 1 and (beyond is not None or len(usual) > 1)


def _widths(data: bytes, separator: str) -> set[int]:
    """How many cells the first rows have."""
    try:
        return {len(row) for row in islice(records(data, separator), _LOOKED_AT) if row}
    except csv.Error:
        return set()


def _doubled(data: bytes) -> bytes:
    """The text with doubled quotes in the place of those with a backslash before them."""
    return re.sub(rb'\\(["\\])', lambda found: b'""' if found[1] == b'"' else found[1], data)


def _filled(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that hold something; in a file of one column an empty line is a value that is missing."""
    # Mostly no cell of the first column is empty, and then no row is: the others need not be looked at.
    if frame.width < 2 or not frame[:, 0].null_count() + int((frame[:, 0] == "").sum()):
        return frame
    return frame.filter(pl.any_horizontal(pl.all().str.strip_chars().replace("", None).is_not_null()))


def _single_blanks(data: bytes) -> bytes:
    """One blank where several stand between the columns of a file that lines them up."""
    # Within quotes several blanks may be meant.
    if b'"' in data:
        return data
    return b"\n".join(re.sub(rb"[ \t]+", b" ", line).strip() for line in data.split(b"\n"))


def _trimmed(body: bytes, separator: str) -> bytes:
    """The rows without those at the end that hold nothing: spreadsheets leave them."""
    nothing, end = separator.encode() + b' \t"', len(body.rstrip(b"\n"))
    # From the end: at the first row that holds something it is over.
    while (start := body.rfind(b"\n", 0, end) + 1) and not body[start:end].strip(nothing):
        end = start - 1
    return body[:end]


def _cells(path: Path, start: Head, body: bytes) -> pl.DataFrame:
    if not body.strip():
        return pl.DataFrame(schema=dict.fromkeys(start.names, pl.String))
    if re.search(re.escape(start.separator.encode()) + b' +"', body):
        return _slowly(path, start, body)  # a quote after a blank is none to polars
    try:
        frame = pl.read_csv(
            io.BytesIO(body),
            has_header=False,
            separator=start.separator,
            schema=dict.fromkeys(start.names, pl.String),
        )
    except PolarsError:  # rows of another length than the header, a quote within a cell
        return _slowly(path, start, body)
    maybe_short = frame.width > 1 and frame[:, -1].null_count()  # a row that is too short is filled up
    if maybe_short and any(len(row) not in (0, frame.width) for row in records(body, start.separator)):
        return _slowly(path, start, body)
    return frame


def _slowly(path: Path, start: Head, body: bytes) -> pl.DataFrame:
    """The cells of a file that polars does not take: with a quote within a cell, or with rows of other lengths."""
    width = len(start.names)
    try:
        rows = list(records(body, start.separator))
    except csv.Error as error:
        _refuse(path, f"is no CSV file: {error}")
    # A remark between the rows is no row of another length.
    rows = [row for row in rows if len(row) == width or not (row and row[0].lstrip().startswith("#"))]
    if all(len(row) in (0, width + 1) and not "".join(row[width:]).strip() for row in rows):
        rows = [row[:width] for row in rows]  # each row ends with a separator, and the header does not
    _check_ragged(path, start, rows)
    whole = [row or [""] * width for row in rows]
    return pl.DataFrame(whole, schema=dict.fromkeys(start.names, pl.String), orient="row")


def _named(path: Path, frame: pl.DataFrame, start: Head, told: Sequence[str]) -> Read:
    """The table, its columns without names told apart: those before the others are the names of rows."""
    first = next((i for i, name in enumerate(frame.columns) if not name.startswith(UNNAMED)), 0)
    unnamed, others = tuple(frame.columns[:first]), frame.columns[first:]
    notes = [*start.notes, *told]
    if unnamed:
        notes.append(f"{_few('the first column', first)} without a name left out: task.features=[{','.join(unnamed)}]")
    empty = [name for name in others if name.startswith(UNNAMED)]
    for name in empty:
        if frame[name].str.strip_chars().replace("", None).null_count() < len(frame):
            place = int(name.removeprefix(UNNAMED)) + 1
            _refuse(path, f"column {place} has no name", hint="give it one in the first row, or empty the column")
    return Read(frame.drop(empty), start.separator, unnamed, tuple(notes))


def _few(first: str, n: int) -> str:
    return first if n == 1 else f"{first}s ({n})"


def _check_names(path: Path, start: Head) -> None:
    _check_separated(path, start)
    twice = [name for i, name in enumerate(start.names) if name in start.names[:i]]
    if twice and mostly_numbers(start.names):
        _refuse(path, "has no names of columns in its first row", hint="task.header=false names them column_1, ...")
    if twice:
        _refuse(path, f"has two columns named {twice[0]!r}", hint="rename one of them")


def _check_separated(path: Path, start: Head) -> None:
    first, *others = start.names
    found = [name for name, character in DELIMITERS.items() if character in first and name != "space"]
    if not others and found:
        names = {character: name for name, character in DELIMITERS.items()}
        separator = names.get(start.separator, start.separator)
        problem = f"has the one column {first!r}: columns seem not to be separated by a {separator}"
        _refuse(path, problem, hint=f"set task.delimiter={found[0]}")


def _check_ragged(path: Path, start: Head, rows: Sequence[list[str]]) -> None:
    width = len(start.names)
    ragged = [(row, len(cells)) for row, cells in enumerate(rows, start=1) if len(cells) not in (0, width)]
    if ragged:
        row, n = ragged[0]
        others = "no other row does" if len(ragged) == 1 else f"{len(ragged)} rows do not fit"
        problem = f"row {row} has {n} fields, the header has {width}; {others}"
        hint = "rows count from 1 after the header; task.skip_rows passes over lines before it"
        if row == len(rows):
            hint = "delete that row, the last one, if it is a remark or a sum"
        _refuse(path, problem, hint=hint)


def _extension(path: Path) -> str:
    """The extension that says what the file is: `.csv` of `data.csv.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED]
    return suffixes[-1] if suffixes else ""


def _refuse_path(path: Path) -> NoReturn:
    what = "is a directory" if path.is_dir() else f"no such file; the working directory is {located('.').absolute()}"
    there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = nearest(path.name, there)
    _refuse(path, what, hint=f"did you mean {path.parent / guess}?" if guess else None)


def _refuse(path: Path, problem: str, *, hint: str | None = None) -> NoReturn:
    raise ConfigError("path", str(path), problem, hint=hint)
