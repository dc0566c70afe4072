"""metrics.csv: the history of a run, one row a logged step."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from shoal.errors import DamagedError
from shoal.names import EPOCH, GRAD_NORM, GRAD_NORM_CLIPPED, LR, STEP
from shoal.rundir.atomic import append, write_bytes

_LAST = (LR, GRAD_NORM, GRAD_NORM_CLIPPED)
"""Columns that stand behind others that are new in the same row, so that both engines give them one order."""


class History:
    """Rows on their way to metrics.csv. `flush` appends what is new; a metric seen for the first time adds a column.

    Numbers are written so that reading them back gives the same bits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = [STEP, EPOCH]
        self.rows: list[dict[str, float]] = []
        self._lines: list[str] = []
        """The first rows as they are in the file, whose columns are `_header`."""
        self._header: list[str] = []
        self._hash = hashlib.sha256()

    def add(self, row: Mapping[str, float]) -> None:
        """Put a row at the end."""
        # Most often the names of the row before, which are compared in C.
        known = self.rows[-1].keys() if self.rows else ()
        new = [] if row.keys() == known else [name for name in row if name not in self.columns]
        if new:
            # All others at -1: sorting is stable, and leaves them as they came.
            self.columns += sorted(new, key=lambda name: _LAST.index(name) if name in _LAST else -1)
        self.rows.append(dict(row))

    def flush(self) -> None:
        """Bring the file up to date.

        Raises:
            ShoalError: where it cannot be written.
        """
        # A new column changes the first line and every row: there is nothing to append to.
        if self._header != self.columns:
            lines = _lines(self.columns, self.rows)
            content = "".join([_first_line(self.columns), *lines]).encode()
            write_bytes(self.path, content)
            self._hash, self._header, self._lines = hashlib.sha256(content), list(self.columns), lines
        elif len(self._lines) < len(self.rows):
            lines = _lines(self.columns, self.rows[len(self._lines) :])
            content = "".join(lines).encode()
            append(self.path, content)
            self._hash.update(content)
            self._lines += lines

    def final(self) -> dict[str, float]:
        """The last value of each metric, in the order of the columns."""
        last: dict[str, float] = {}
        for row in self.rows:
            last |= row
        return {name: last[name] for name in self.columns if name in last and name not in (STEP, EPOCH)}

    def at(self, step: int) -> dict[str, float]:
        """What was measured at this step."""
        found = {name: value for row in self.rows if row[STEP] == step for name, value in row.items()}
        return {name: value for name, value in found.items() if name not in (STEP, EPOCH)}

    def keep(self, n: int) -> None:
        """Drop all rows after the first `n`, and the columns that only they had, in the file too."""
        self.rows = self.rows[:n]
        used = {name for row in self.rows for name in row}
        self.columns = [name for name in self.columns if name in used or name in (STEP, EPOCH)]
        # No columns are these: flush writes the whole file, without what was dropped.
        self._header = []
        self.flush()

    def digest(self) -> str:
        """SHA-256 of what this has written to the file."""
        return self._hash.hexdigest()

    def digest_at(self, n: int) -> str:
        """What `digest` was, or will be, when the first `n` rows are all there is."""
        # A column that a later row brought was not in the file then.
        used = {STEP, EPOCH}.union(*self.rows[:n])
        columns = [name for name in self.columns if name in used]
        # Most often what the file has: to write numbers as text takes as long as all else that is done of a row.
        known = self._lines[:n] if columns == self._header else []
        lines = [*known, *_lines(columns, self.rows[len(known) : n])]
        return hashlib.sha256("".join([_first_line(columns), *lines]).encode()).hexdigest()


def read_history(path: Path) -> History:
    """The history in metrics.csv.

    Raises:
        DamagedError: where a row is cut short or is no row of numbers.
    """
    history, problem = read_intact(path)
    if problem:
        raise DamagedError(problem)
    return history


def read_intact(path: Path) -> tuple[History, str | None]:
    """The rows of metrics.csv up to the first that is damaged, and what is wrong with that one."""
    history = History(path)
    try:
        # A byte that is no UTF-8 becomes text that is no number: so it damages its own row and none before.
        # With or without the mark that editors of Windows put before a text, whose rows are all as they were.
        with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            lines = csv.reader(_whole(file))
            history.columns = _header(next(lines))
            for line in lines:
                history.rows.append(_parsed(history.columns, line))
    except FileNotFoundError:
        return History(path), f"{path} is missing"
    except StopIteration:
        return history, f"{path} is damaged: it is empty"
    except OSError as error:
        return history, f"{path} cannot be read after row {len(history.rows)}: {error.strerror}"
    except (ValueError, csv.Error) as error:
        return history, f"{path} is damaged after row {len(history.rows)}: {error}"
    return history, None


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """The lines, all of which must end: what is cut off within a number still looks like one."""
    for line in lines:
        if not line.endswith("\n"):
            raise ValueError("the line is cut short")
        yield line


def _header(columns: list[str]) -> list[str]:
    if columns[:2] != [STEP, EPOCH] or len(set(columns)) < len(columns):
        raise ValueError("the first line does not name the columns")
    return columns


def _parsed(columns: list[str], line: list[str]) -> dict[str, float]:
    if len(line) != len(columns):
        raise ValueError(f"the row has {len(line)} of {len(columns)} cells")
    # Any other cell may be empty: not every metric is measured at every step.
    if not (line[0] and line[1]):
        raise ValueError(f"the row names no {EPOCH if line[0] else STEP}")
    cells = zip(columns, line, strict=True)
    try:
        return {name: int(cell) if name in (STEP, EPOCH) else float(cell) for name, cell in cells if cell}
    except ValueError as error:
        wrong = next(cell for name, cell in zip(columns, line, strict=True) if cell and not _is_number(name, cell))
        raise ValueError(f"{wrong[:20]!r} is no number") from error


def _is_number(name: str, cell: str) -> bool:
    try:
        int(cell) if name in (STEP, EPOCH) else float(cell)
    except ValueError:
        return False
    return True


def _lines(columns: list[str], rows: list[dict[str, float]]) -> list[str]:
    # By hand, at a third of what the csv module takes: a number has nothing to quote, as the name of a column may.
    return [",".join([_shown(name, row[name]) if name in row else "" for name in columns]) + "\n" for row in rows]


def _first_line(columns: list[str]) -> str:
    text = io.StringIO()
    # csv's own line ends are those of DOS, on every system.
    csv.writer(text, lineterminator="\n").writerow(columns)
    return text.getvalue()


def _shown(name: str, value: float) -> str:
    return str(int(value)) if name in (STEP, EPOCH) else repr(float(value))
