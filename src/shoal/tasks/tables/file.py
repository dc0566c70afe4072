"""A table in a file of the user's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from shoal.tasks.tables.reading import Decimal, Delimiter, read
from shoal.tasks.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class TableFile(Table):
    """One column of a CSV, Parquet, Arrow or Feather file from the others."""

    path: str
    """The file; a relative path starts at the working directory. Its extension says what it is: .csv .tsv .txt (also
    with .gz), .parquet, .arrow, .feather."""
    delimiter: Delimiter | None = None
    """What separates the columns of a text file; a comma where null, for .tsv a tab."""
    decimal: Decimal = "point"
    """What separates the decimals of a number in a text file."""

    @property
    def name(self) -> str:
        return self.path

    def frame(self) -> pl.DataFrame:
        return read(Path(self.path).expanduser(), delimiter=self.delimiter, decimal=self.decimal)

    @property
    def digest(self) -> str | None:
        """SHA-256 of the file, in hexadecimal: a run that is resumed must find the same."""
        with Path(self.path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _stamp(self) -> tuple[int, ...]:
        path = Path(self.path).expanduser()
        return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else ()
