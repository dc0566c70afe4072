"""Tables of inputs for a trained run, and of its predictions: read and written as the table of the training was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from shoal.errors import ShoalError, UsageError
from shoal.loaded.ensemble import Ensemble
from shoal.loaded.run import Run
from shoal.loaded.table_file import table
from shoal.loaded.trained_run import Which, check_columns, named
from shoal.tasks.tables.encoding import tabular
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Number, restored


@dataclass(frozen=True)
class Inputs:
    """Inputs for what was trained, a row each, in the columns of a table that may have others."""

    by: Run | Ensemble
    """What predicts."""
    which: Which
    """Its state."""
    table: pl.DataFrame
    format: Format
    separator: str = ","
    """What separates the columns where they are written as text."""
    notes: tuple[str, ...] = ()
    """What intervals in the table rest on."""

    def predicted(self, interval: float | None = None) -> Inputs:
        """The table with the predictions beside it; they do not take the place of a column by their name.

        With an `interval`, a level, the ends of intervals stand beside them.
        """
        predictions, notes = self.by.predictions(self.table, self.which), self.notes
        if interval is not None:
            ends, notes = self._intervals(predictions, interval)
            predictions = predictions.hstack(ends)
        # Both stay: a table to predict often has the target, to compare with.
        own = [
            each.alias(f"{each.name}_predicted") if each.name in self.table.columns else each for each in predictions
        ]
        return replace(self, table=self.table.hstack(own), notes=notes)

    def _intervals(self, predicted: pl.DataFrame, level: float) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """The columns of intervals, and what they rest on."""
        if isinstance(self.by, Ensemble):
            found = self.by.calibrated(level, self.which)
            return found.columns(predicted), (found.told,)
        from shoal.loaded.intervals import intervals

        columns = named(self.table, self.by.columns(self.which).features)
        return intervals(self.by, columns, predicted, self.which, level)

    def text(self) -> str:
        """The table as CSV, separated as what was read."""
        return self.table.write_csv(separator=self.separator, decimal_comma=self.format.decimal == "comma")

    def write(self, path: Path) -> None:
        """Write the table, in the format that the name ends in; the model's inputs are typed where it has types.

        Raises:
            UsageError: where the name ends in no such format.
            ShoalError: where it cannot be written.
        """
        writers: dict[str, Callable[[Path], object]] = {
            ".csv": lambda path: path.write_text(self.text(), encoding="utf-8"),
            ".tsv": lambda path: path.write_text(replace(self, separator="\t").text(), encoding="utf-8"),
            ".parquet": lambda path: self._typed().write_parquet(path),
            ".arrow": lambda path: self._typed().write_ipc(path),
        }
        if path.suffix not in writers:
            raise UsageError(f"cannot write {path}: its name ends in none of {', '.join(writers)}")
        try:
            writers[path.suffix](path)
        except OSError as error:
            raise ShoalError(f"cannot write {path}: {error.strerror or error}") from error

    def _typed(self) -> pl.DataFrame:
        fitted = self.by.columns(self.which).encoding.get("columns", ())
        if not fitted:
            return self.table
        columns = {column["name"]: self.table[column["name"]] for column in fitted}
        return self.table.with_columns(tabular(columns, fitted, self.format))


def read(by: Run | Ensemble, path: Path, which: Which = "best") -> Inputs:
    """The inputs in a file, read as the table of the training was.

    Raises:
        UsageError: where there is no table, or one that is written in another way.
    """
    format = by.format(which)
    found = table(path, format)
    return Inputs(by, which, found.frame, format, found.separator)


def given(by: Run | Ensemble, text: str, which: Which = "best") -> Inputs:
    """Values from the command line: one input, or several in turn. Decimals are behind a point here.

    Raises:
        UsageError: where they are not a whole number of inputs.
    """
    words, known = [word.strip() for word in text.split(",")], by.columns(which)
    names = known.features
    check_columns(names)
    # `--x 1,2,3,4` of a model with two inputs is two rows.
    if len(words) % len(names):
        n = f"{len(words)} value{'s' if len(words) != 1 else ''}"
        raise UsageError(f"--x has {n}; the model takes {len(names)} a row: {', '.join(names)}")
    # Numbers are read here, by a point; texts are left to the column's own reading.
    kinds = {column["name"]: restored(column) for column in known.encoding.get("columns", ())}
    columns = {
        name: _numbers(words[i :: len(names)])
        if isinstance(kinds.get(name, Number()), Number)
        else words[i :: len(names)]
        for i, name in enumerate(names)
    }
    return Inputs(by, which, pl.DataFrame(columns), by.format(which))


def _numbers(words: list[str]) -> list[float] | list[str]:
    """The words as numbers, where all of them are some."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return words
