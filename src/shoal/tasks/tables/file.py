"""A table in a file of the user's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

import polars as pl
from annotated_types import Ge

from shoal.errors import ConfigError
from shoal.relative_paths import located
from shoal.tasks.tables.format import MISSING, DateOrder, Decimal, Delimiter, Format, Thousands
from shoal.tasks.tables.opening import known
from shoal.tasks.tables.reading import Read, read
from shoal.tasks.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class TableFile(Table):
    """One column of a CSV, Parquet, Arrow or Feather file from the others.

    How the file is written is how those are that the trained model predicts.
    """

    path: str
    """The file; a relative path starts at the working directory. Its extension says what it is: .csv .tsv .tab .txt
    .dat (also with .gz, .bz2, .xz), .parquet, .arrow, .feather."""
    delimiter: Delimiter | None = None
    """What separates the columns of a text file; a comma where null, for .tsv a tab, and what a first line `sep=;`
    says."""
    decimal: Decimal = "point"
    """What separates the decimals of a number in a text."""
    thousands: Thousands | None = None
    """What stands between groups of three digits in a text."""
    missing_values: tuple[str | int | float, ...] = MISSING
    """What stands for a missing value: texts, or numbers as -999; `...` stands for the usual ones. An empty cell does
    always."""
    dates: DateOrder | None = None
    """The order of day, month and year in a text, where the year does not come first; where null, the one in which all
    values of the column are dates."""
    encoding: str | None = None
    """The encoding of a text file, by Python's name for it; where null UTF-8 or UTF-16, else cp1252."""
    header: bool = True
    """Whether the first row of a text file has the names of the columns; else they are column_1, column_2, ..."""
    skip_rows: Annotated[int, Ge(0)] = 0
    """Lines of a text file before that row. Those that begin with # are passed over anyway."""
    test_path: str | None = None
    """A file of its own for the test, written in the same way: only `shoal eval --test` looks at its values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.thousands == self.decimal:
            raise ConfigError("thousands", self.thousands, "is what separates decimals", hint="set task.decimal too")
        if self.encoding is not None and not known(self.encoding):
            raise ConfigError("encoding", self.encoding, "is no encoding that Python knows", hint="for example cp1252")

        if self.test_path and self.test_fraction:
            raise ConfigError("test_fraction", self.test_fraction, "cannot stand beside task.test_path", hint="set one")

    @property
    def name(self) -> str:
        return self.path

    @property
    def format(self) -> Format:
        return Format(
            delimiter=self.delimiter,
            decimal=self.decimal,
            thousands=self.thousands,
            missing_values=self.missing_values,
            dates=self.dates,
            encoding=self.encoding,
            header=self.header,
            skip_rows=self.skip_rows,
        )

    def frame(self) -> pl.DataFrame:
        return self._read().frame

    def test_frame(self) -> pl.DataFrame | None:
        if self.test_path is None:
            return None
        try:
            return read(located(self.test_path), self.format).frame
        except ConfigError as error:
            # The reader knows one file, which is `path` to it.
            raise error.at(key="test_path") from error

    @property
    def unnamed(self) -> tuple[str, ...]:
        return self._read().unnamed

    @property
    def notes(self) -> tuple[str, ...]:
        return self._read().notes

    @property
    def digest(self) -> str | None:
        """SHA-256 of the file, in hexadecimal: a run that is resumed must find the same."""
        with located(self.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _read(self) -> Read:
        return read(located(self.path), self.format)

    def _stamp(self) -> tuple[int, ...]:
        paths = [located(path) for path in (self.path, self.test_path) if path]
        # Time and size, as the content would have to be read for a digest.
        return tuple(n for path in paths if path.is_file() for n in (path.stat().st_mtime_ns, path.stat().st_size))
