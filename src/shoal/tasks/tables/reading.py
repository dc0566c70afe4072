"""Reads a table from a file. What is wrong with the file is said with the row, and how many such rows there are."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

import polars as pl
from polars.exceptions import ComputeError, NoDataError, PolarsError

from shoal.errors import ConfigError, nearest

Delimiter = Literal["comma", "semicolon", "tab", "pipe", "space"]
Decimal = Literal["point", "comma"]

DELIMITERS: dict[Delimiter, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
MISSING = ["", "NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "Null", "null", "None", "?"]
"""What stands for a missing value in a text file."""

_TEXT = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".feather", ".ipc")
_INFERRED = 10_000
"""Rows that types are first inferred from; all of them where a later row does not fit."""


def read(path: Path, *, delimiter: Delimiter | None, decimal: Decimal) -> pl.DataFrame:
    """The table in a CSV, Parquet, Arrow or Feather file, by its extension. Read once while the file stays the same.

    Raises:
        ConfigError: where there is no such file, or it holds no table.
    """
    if not path.is_file():
        _refuse_path(path)
    if not path.stat().st_size:
        _refuse(path, "is empty")
    return _read(path.resolve(), path.stat().st_mtime_ns, path.stat().st_size, delimiter or _usual(path), decimal)


@lru_cache(maxsize=1)
def _read(path: Path, modified: int, size: int, delimiter: Delimiter, decimal: Decimal) -> pl.DataFrame:
    del modified, size
    try:
        frame = _text(path, delimiter, decimal) if _extension(path) in _TEXT else _columnar(path)
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror or error}")
    if not len(frame):
        _refuse(path, "has a header but no rows" if frame.columns else "is empty")
    return frame


def _columnar(path: Path) -> pl.DataFrame:
    extension = _extension(path)
    if extension not in _PARQUET + _ARROW:
        known = ", ".join(_TEXT + _PARQUET + _ARROW)
        _refuse(path, f"has the extension {extension or '(none)'}, which no reader is for", hint=f"known are {known}")
    try:
        return pl.read_parquet(path) if extension in _PARQUET else pl.read_ipc(path)
    except PolarsError as error:
        _refuse(path, f"is no {'Parquet' if extension in _PARQUET else 'Arrow'} file: {_first_line(error)}")


def _text(path: Path, delimiter: Delimiter, decimal: Decimal) -> pl.DataFrame:
    try:
        frame = _parsed(path, delimiter, decimal, rows=_INFERRED)
    except NoDataError:
        _refuse(path, "is empty")
    except ComputeError:
        frame = _parsed_whole(path, delimiter, decimal)
    _check_header(path, frame, delimiter)
    _check_short_rows(path, frame, delimiter)
    return frame


def _parsed(path: Path, delimiter: Delimiter, decimal: Decimal, *, rows: int | None) -> pl.DataFrame:
    return pl.read_csv(
        path,
        separator=DELIMITERS[delimiter],
        decimal_comma=decimal == "comma",
        null_values=MISSING,
        infer_schema_length=rows,
        try_parse_dates=True,
    )


def _parsed_whole(path: Path, delimiter: Delimiter, decimal: Decimal) -> pl.DataFrame:
    try:
        return _parsed(path, delimiter, decimal, rows=None)
    except ComputeError as error:
        if "utf-8" in str(error):
            _refuse(path, "is not encoded in UTF-8", hint="save it as UTF-8")
        _check_ragged(path, delimiter)
        _refuse(path, f"is no CSV file: {_first_line(error)}")


def _check_header(path: Path, frame: pl.DataFrame, delimiter: Delimiter) -> None:
    _check_separated(path, frame.columns, delimiter)
    twice = [name for name in frame.columns if "_duplicated_" in name]
    if twice:
        _refuse(path, f"has two columns named {twice[0].split('_duplicated_')[0]!r}", hint="rename one of them")


def _check_separated(path: Path, header: Sequence[str], delimiter: Delimiter) -> None:
    first, *others = header
    found = [name for name, character in DELIMITERS.items() if character in first and name != "space"]
    if not others and found:
        hint = f"set task.delimiter={found[0]}"
        _refuse(path, f"has the one column {first!r}: columns seem not to be separated by a {delimiter}", hint=hint)


def _check_short_rows(path: Path, frame: pl.DataFrame, delimiter: Delimiter) -> None:
    """Polars fills a row that is too short with missing values; look for one only where the last column misses any."""
    if frame.width > 1 and frame[:, -1].null_count():
        _check_ragged(path, delimiter)


def _check_ragged(path: Path, delimiter: Delimiter) -> None:
    rows = _rows(path, delimiter)
    header = next(rows)
    # First: with commas for decimals the rows of a file that semicolons separate have other numbers of fields.
    _check_separated(path, header, delimiter)
    lengths, width = map(len, rows), len(header)
    ragged = [(row, n) for row, n in enumerate(lengths, start=1) if n not in (0, width)]
    if ragged:
        row, n = ragged[0]
        others = "no other row does" if len(ragged) == 1 else f"{len(ragged)} rows do not fit"
        problem = f"row {row} has {n} fields, the header has {width}; {others}"
        _refuse(path, problem, hint="rows count from 1 after the header")


def _rows(path: Path, delimiter: Delimiter) -> Iterator[list[str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        yield from csv.reader(lines, delimiter=DELIMITERS[delimiter])


def _extension(path: Path) -> str:
    """The extension that says what the file is: `.csv` of `data.csv.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    return suffixes[-1] if suffixes else ""


def _usual(path: Path) -> Delimiter:
    return "tab" if _extension(path) == ".tsv" else "comma"


def _refuse_path(path: Path) -> NoReturn:
    what = "is a directory" if path.is_dir() else f"no such file; the working directory is {Path.cwd()}"
    there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = nearest(path.name, there)
    _refuse(path, what, hint=f"did you mean {path.parent / guess}?" if guess else None)


def _refuse(path: Path, problem: str, *, hint: str | None = None) -> NoReturn:
    raise ConfigError("path", str(path), problem, hint=hint)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
