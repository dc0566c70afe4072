"""Columns that a model had better not be given as they are.

Those that count the rows, those that give the target away, and those whose cells mean something else than they seem to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import polars as pl

from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.kinds import Category, Number
from shoal.tasks.tables.numerals import apart

_FEWEST = 20
"""Rows of a table that is looked at: in a smaller one much happens by chance."""
_MOST_UNITS = 6
_IDENTIFIER = re.compile(r"(^|[_ .-])(id|idx|index|key|nr|no|number|row|unnamed: \d+)$", re.IGNORECASE)


_MARK = re.compile(r"-?9{2,6}(\.0)?")
"""Numbers that stand for a missing value in many a file."""
_TOTALS = frozenset({"total", "totals", "grand total", "sum", "subtotal", "average", "mean", "all", "overall"})
"""What the last row of a report is called."""
_WRITTEN = (
    ("fractions", "1/2 as 0.5", r"^[+-]?\d+ ?/ ?\d+$"),
    ("times", "12:30 as 12.5", r"^\d{1,3}:\d{2}(?::\d{2})?$"),
)
"""Numbers that are taken for categories, and how they would be read."""
_COMPACT = 10_000
"""20240131 has the year before so many."""


def warnings(frame: pl.DataFrame, features: Sequence[Column], target: Column) -> Iterator[str]:
    """What to say of such columns, a line for each kind."""
    if len(frame) < _FEWEST:
        return
    yield from _mistaken(frame, [*features, target])
    if len(features) > 1:  # a function of one variable may well count
        yield from _useless(frame, features, target)


def _mistaken(frame: pl.DataFrame, columns: Sequence[Column]) -> Iterator[str]:
    """What to say of columns whose cells seem to mean something else than they are taken for."""
    for column in columns:
        values = frame[column.name].drop_nulls()
        if isinstance(column.kind, Category):
            found = units(values)
            if found:
                yield (
                    f"warning: {column.name} holds numbers in several units ({', '.join(found)}), which are taken for "
                    "categories; write them in one unit"
                )
            yield from (f"warning: {column.name} {said}" for said in _odd(values))
        elif isinstance(column.kind, Number):
            for mark in marks(values):
                yield (
                    f"warning: {column.name} holds {mark:g} in {int((values == mark).sum())} of {len(frame)} rows, far "
                    f"from its other values; task.missing_values=[...,{mark:g}] if it stands for no value"
                )
            if compact_dates(values):
                yield (
                    f"warning: {column.name} holds dates as {values[0]:.0f}, which are taken for numbers; "
                    "write them as 2024-01-31"
                )


def _odd(values: pl.Series) -> Iterator[str]:
    """What to say of categories that seem to be something else, or the same twice."""
    last = values[-1]
    if last.lower().strip(".: ") in _TOTALS and int((values == last).sum()) == 1:
        yield f"is {last!r} in the last row, which is taken for one like the others; delete it if it sums them up"
    for noun, example, pattern in _WRITTEN:
        if values.str.contains(pattern).all():
            yield f"holds {noun} as {values[0]}, which are taken for categories; write {example}"
    names = values.unique().sort()
    twice = names.filter(names.str.to_lowercase().is_duplicated())
    if len(twice):
        told = ", ".join(map(repr, twice[:4]))
        yield f"holds {told}, which are taken for different categories; write each in one way"


def _useless(frame: pl.DataFrame, features: Sequence[Column], target: Column) -> Iterator[str]:
    """What to say of columns that count the rows or give the target away."""
    counting = [column.name for column in features if counts_rows(frame[column.name], column)]
    others = [column for column in features if column.name not in counting and not isinstance(column.kind, Category)]
    telling = [column.name for column in others if rises_with(frame[column.name], frame[target.name], target)]
    telling += [
        column.name
        for column in features
        if column.name not in (*counting, *telling) and decides(frame[column.name], frame[target.name])
    ]
    if counting:
        verb = "holds" if len(counting) == 1 else "hold"
        told = f"{', '.join(counting)} {verb} row numbers, which tell nothing of a new row"
        yield _warning(told, counting)
    if telling:
        verb = "gives" if len(telling) == 1 else "give"
        told = f"{', '.join(telling)} {verb} {target.name} away: each value goes with one of the target's"
        yield _warning(told, telling)


def marks(values: pl.Series) -> list[float]:
    """Numbers as -999 that are further from all others than these are from each other."""
    found = []
    # Only the ends can stand apart from all others.
    for mark in {float(values.min()), float(values.max())}:  # type: ignore[arg-type]
        others = values.filter(values != mark)
        if _MARK.fullmatch(str(mark)) and others.n_unique() > 1:
            least, most = float(others.min()), float(others.max())  # type: ignore[arg-type]
            if min(abs(mark - least), abs(mark - most)) > most - least:
                found.append(mark)
    return sorted(found)


def compact_dates(values: pl.Series) -> bool:
    """Whether all whole numbers are dates as 20240131, of several days."""
    # Fewer may be numbers by chance.
    if values.n_unique() < 3 or (values % 1 != 0).any():
        return False
    written = values.cast(pl.Int64, strict=False).cast(pl.String)
    years = values // _COMPACT
    return bool(years.is_between(1900, 2100).all() and written.str.to_date("%Y%m%d", strict=False).is_not_null().all())


def units(values: pl.Series) -> list[str]:
    """The units of texts that are numbers with one each, where these differ."""
    numbers, found = apart(values)
    if found.null_count() or (found == "").any():
        return []
    names = sorted(found.unique())
    spaced = values.str.contains(" ", literal=True).all()
    # One unit with a prefix before another: names of categories seldom are so.
    prefixed = any(name != other and name.endswith(other) for name in names for other in names)  # kg and g
    several = 1 < len(names) <= numbers.n_unique() and len(names) < _MOST_UNITS
    return names if several and (spaced or prefixed) else []


def counts_rows(values: pl.Series, column: Column) -> bool:
    """Whether whole numbers are 1, 2, 3 and so on in some order, or all different under the name of an identifier."""
    if not isinstance(column.kind, Number) or column.missing or column.distinct < len(values):
        return False
    if (values % 1 != 0).any():
        return False
    least, most = float(values.min()), float(values.max())  # type: ignore[arg-type]
    # All different and this far apart: each whole number between stands once.
    return most - least == len(values) - 1 or _IDENTIFIER.search(column.name) is not None


def rises_with(values: pl.Series, target: pl.Series, label: Column) -> bool:
    """Whether a target of numbers rises or falls with these wherever they do: another unit, or a logarithm, of it."""
    if not isinstance(label.kind, Number):
        return False
    pairs = pl.DataFrame({"value": values, "target": target}).drop_nulls().sort("value")
    # As many targets as values: a step function of a column does not give the target away.
    if pairs["value"].n_unique() < _FEWEST or pairs["value"].n_unique() != pairs["target"].n_unique():
        return False
    steps = pairs["target"].diff().drop_nulls()
    return bool((steps >= 0).all() or (steps <= 0).all())


def decides(values: pl.Series, target: pl.Series) -> bool:
    """Whether each value, three rows to a value at least, comes with one value of the target only."""
    pairs = pl.DataFrame({"value": values, "target": target}).drop_nulls()
    n = pairs["value"].n_unique()
    # With fewer rows to a value it would be chance.
    return 1 < n <= len(pairs) / 3 and len(pairs.unique()) == n


def _warning(told: str, names: Sequence[str]) -> str:
    return f"warning: {told}; task.exclude=[{','.join(names)}] leaves {'it' if len(names) == 1 else 'them'} out"
