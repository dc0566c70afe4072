"""`--where "optimizer.lr < 0.01 and task = 'parabola'"`: SQL's conditions over whatever runs can be asked for.

SQLite evaluates them: of the engines at hand it alone starts in milliseconds and compares columns of mixed types, as
settings are. What this module adds is the names, which may hold dots and slashes, durations such as 2h, and the errors.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

from shoal.errors import UsageError
from shoal.review.entries import RunEntry
from shoal.review.values import Value, Values

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | "(?P<quoted>[^"]+)"
      | (?P<duration>\d+(?:\.\d+)?(?:s|min|h|d|w)\b)
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_]\w*(?:[./]\w+)*)
      | (?P<symbol><=|>=|<>|!=|==|\|\||[-+*/%<>=(),])
      | (?P<space>\s+)""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", "in", "is", "null", "like", "glob", "between", "true", "false", "case", "when", "then"}
_WORDS |= {"else", "end", "escape"}
_FUNCTIONS = {"abs", "round", "min", "max", "lower", "upper", "length", "coalesce", "ifnull", "instr"}
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_STEPS = 10_000_000


def where(entries: Sequence[RunEntry], condition: str, values: Values | None = None) -> list[RunEntry]:
    """The runs that meet the condition; where a run lacks a value, a comparison with it does not hold.

    Raises:
        UsageError: where the condition is not understood, with the place; or no run has a name in it.
    """
    values = values or Values(entries)
    names: list[str] = []
    # Names become c0, c1 and so on: SQLite's own could hold neither dots nor slashes.
    sql = "".join(_translated(condition, values, names))
    columns = [values.column(name) for name in names]
    with closing(sqlite3.connect(":memory:")) as database:
        # A condition must not run for ever, however it was come by.
        database.set_progress_handler(lambda: 1, _STEPS + 100 * len(entries))
        try:
            database.execute(f"create table runs (row {''.join(f', c{n}' for n in range(len(names)))})")
            rows = ((row, *map(_storable, cells)) for row, cells in enumerate(_rows(columns, len(entries))))
            database.executemany(f"insert into runs values (?{', ?' * len(names)})", rows)
            return [entries[row] for (row,) in database.execute(f"select row from runs where ({sql}) order by row")]
        except sqlite3.Error as error:
            raise UsageError(f"--where {condition}: {error}", hint=_EXAMPLE) from error


def ordered(entries: Sequence[RunEntry], name: str, values: Values | None = None) -> list[RunEntry]:
    """The runs in the order of a value, the highest first with `-` before its name; those without it come last.

    Raises:
        UsageError: where no run has it.
    """
    falling = name.startswith("-")
    column = (values or Values(entries)).column(name.removeprefix("-"))
    # The second comparison leaves out nan, which has no place in an order.
    present = [index for index, value in enumerate(column) if value is not None and value == value]
    present.sort(key=lambda index: _sortable(column[index]), reverse=falling)
    kept = set(present)
    return [entries[index] for index in (*present, *(index for index in range(len(entries)) if index not in kept))]


_EXAMPLE = "for example: optimizer.lr < 0.01 and task = 'parabola' and age < 2d; text stands in single quotes"


def _translated(condition: str, values: Values, names: list[str]) -> Iterator[str]:
    """The condition in SQLite's words; each name becomes a column, and is put into `names`."""
    position = 0
    while position < len(condition):
        token = _TOKEN.match(condition, position)
        if token is None:
            raise UsageError(f"--where {condition}: not understood from {condition[position:]!r}", hint=_EXAMPLE)
        position = token.end()
        kind, text = str(token.lastgroup), token[0]
        if kind == "duration":
            # Into seconds, as ages and times are.
            number = re.match(r"[\d.]+", text)
            yield str(float(number[0]) * _UNITS[text[number.end() :]]) if number else text
        elif kind == "quoted":
            yield _column(token["quoted"], values, names)
        elif kind == "name" and text.lower() not in _WORDS:
            # Only before a parenthesis: a metric may be called `max`.
            if text.lower() in _FUNCTIONS and condition[position:].lstrip().startswith("("):
                yield text
                continue
            known = _known(text, values)
            position = token.start() + len(known)
            yield _column(known, values, names)
        else:
            yield text


def _known(text: str, values: Values) -> str:
    """The longest beginning of `text` that is a name: `val/loss/2` is half of val/loss."""
    ends = [match.start() for match in re.finditer("/", text)]
    return next((text[:end] for end in (len(text), *reversed(ends)) if text[:end] in values), text)


def _column(name: str, values: Values, names: list[str]) -> str:
    if name not in values:
        hint = f"{values.alternatives(name)}; text stands in single quotes: '{name}'"
        raise UsageError(f"--where: no run has {name}", hint=hint)
    if name not in names:
        names.append(name)
    return f"c{names.index(name)}"


def _rows(columns: list[list[Value]], n: int) -> Iterator[tuple[Value, ...]]:
    return zip(*columns, strict=True) if columns else iter([()] * n)


def _storable(value: Value) -> Value:
    # SQLite's integers have 64 bits, and Python refuses to hand it a larger one.
    return float(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _sortable(value: Value) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value or 0), "")
