"""metrics.csv: the history of a run, one row a logged step."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from shoal.errors import DamagedError
from shoal.names import EPOCH, STEP
from shoal.rundir.atomic import unwritable, write_text


class History:
    """Rows on their way to metrics.csv. `flush` appends what is new; a metric seen for the first time adds a column.

    Numbers are written so that reading them back gives the same bits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = [STEP, EPOCH]
        self.rows: list[dict[str, float]] = []
        self._flushed = 0
        self._header: list[str] = []

    def add(self, row: Mapping[str, float]) -> None:
        """Put a row at the end."""
        self.columns += [name for name in row if name not in self.columns]
        self.rows.append(dict(row))

    def flush(self) -> None:
        """Bring the file up to date.

        Raises:
            ShoalError: where it cannot be written.
        """
        if self._header != self.columns:
            write_text(self.path, self._lines(self.rows, header=True))
        elif self._flushed < len(self.rows):
            self._append(self._lines(self.rows[self._flushed :]))
        self._header = list(self.columns)
        self._flushed = len(self.rows)

    def keep(self, n: int) -> None:
        """Drop all rows after the first `n`, and the columns that only they had, in the file too."""
        self.rows = self.rows[:n]
        used = {name for row in self.rows for name in row}
        self.columns = [name for name in self.columns if name in used or name in (STEP, EPOCH)]
        self._header = []
        self.flush()

    def _append(self, text: str) -> None:
        try:
            with self.path.open("r+", encoding="utf-8", newline="") as file:
                file.seek(0, io.SEEK_END)
                file.write(text)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _lines(self, rows: list[dict[str, float]], *, header: bool = False) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows({name: _shown(name, value) for name, value in row.items()} for row in rows)
        return text.getvalue()


def read_history(path: Path) -> History:
    """The history in metrics.csv.

    Raises:
        DamagedError: where a row is cut short or is no row of numbers.
    """
    history = History(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            history.columns = next(lines)
            for line in lines:
                history.rows.append(_parsed(history.columns, line))
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing") from None
    except (ValueError, StopIteration, OSError, csv.Error) as error:
        raise DamagedError(f"{path} is damaged after row {len(history.rows)}: {error or 'it is empty'}") from error
    history._header = list(history.columns)
    history._flushed = len(history.rows)
    return history


def _parsed(columns: list[str], line: list[str]) -> dict[str, float]:
    cells = zip(columns, line, strict=True)
    return {name: int(cell) if name in (STEP, EPOCH) else float(cell) for name, cell in cells if cell}


def _shown(name: str, value: float) -> str:
    return str(int(value)) if name in (STEP, EPOCH) else repr(float(value))
