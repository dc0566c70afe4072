"""Columns that a model had better not be given: those that count the rows, and those that give the target away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import polars as pl

from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.kinds import Category, Number

_FEWEST = 20
"""Rows of a table that is looked at: in a smaller one much happens by chance."""
_IDENTIFIER = re.compile(r"(^|[_ .-])(id|idx|index|key|nr|no|number|row|unnamed: \d+)$", re.IGNORECASE)


def warnings(frame: pl.DataFrame, features: Sequence[Column], target: Column) -> Iterator[str]:
    """What to say of such columns, a line for each kind; of a table with a single feature nothing."""
    if len(frame) < _FEWEST or len(features) < 2:
        return
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


def counts_rows(values: pl.Series, column: Column) -> bool:
    """Whether whole numbers are 1, 2, 3 and so on in some order, or all different under the name of an identifier."""
    if not isinstance(column.kind, Number) or column.missing or column.distinct < len(values):
        return False
    if (values % 1 != 0).any():
        return False
    least, most = float(values.min()), float(values.max())  # type: ignore[arg-type]
    return most - least == len(values) - 1 or _IDENTIFIER.search(column.name) is not None


def rises_with(values: pl.Series, target: pl.Series, label: Column) -> bool:
    """Whether a target of numbers rises or falls with these wherever they do: another unit, or a logarithm, of it."""
    if not isinstance(label.kind, Number):
        return False
    pairs = pl.DataFrame({"value": values, "target": target}).drop_nulls().sort("value")
    if pairs["value"].n_unique() < _FEWEST or pairs["value"].n_unique() != pairs["target"].n_unique():
        return False
    steps = pairs["target"].diff().drop_nulls()
    return bool((steps >= 0).all() or (steps <= 0).all())


def decides(values: pl.Series, target: pl.Series) -> bool:
    """Whether each value, three rows to a value at least, comes with one value of the target only."""
    pairs = pl.DataFrame({"value": values, "target": target}).drop_nulls()
    n = pairs["value"].n_unique()
    return 1 < n <= len(pairs) / 3 and len(pairs.unique()) == n


def _warning(told: str, names: Sequence[str]) -> str:
    return f"warning: {told}; task.exclude=[{','.join(names)}] leaves {'it' if len(names) == 1 else 'them'} out"
