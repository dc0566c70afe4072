"""The columns of a table as text: a line each, or of many the names of those that are alike."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence

from shoal.tasks.tables.columns import Column

_MOST = 8
"""Columns that have a line each."""
_WIDTH = 100
_PLURALS = {"number": "numbers", "category": "categories", "date": "dates"}


def listing(columns: Sequence[Column], constant: Collection[str], *, n_targets: int = 1) -> list[str]:
    """The features and, last, the targets, with their kinds and missing values."""
    features, targets = columns[:-n_targets], columns[-n_targets:]
    shown = _each if len(columns) <= _MOST else _alike
    return list(shown(features, targets, constant))


def _each(features: Sequence[Column], targets: Sequence[Column], constant: Collection[str]) -> Iterator[str]:
    columns = [*features, *targets]
    width = max(len(column.name) for column in columns)
    for column in columns:
        # By identity: two columns may have been found alike.
        role = "target" if any(column is target for target in targets) else "feature"
        told = [f"{column.missing} missing"] if column.missing else []
        told += ["always the same in training: not used"] if column.name in constant else []
        yield f"  {column.name:<{width}}  {role:<7}  {column!s:<22}  {', '.join(told)}".rstrip()


def _alike(features: Sequence[Column], targets: Sequence[Column], constant: Collection[str]) -> Iterator[str]:
    for kind, plural in _PLURALS.items():
        found = [column for column in features if column.kind.name == kind]
        names = [f"{column.name} ({column.distinct})" if kind == "category" else column.name for column in found]
        yield from _names(f"{len(found)} {kind if len(found) == 1 else plural}", names, lines=2)
    yield from _names("missing", [f"{column.name} ({column.missing})" for column in features if column.missing])
    yield from _names("not used, always the same", [column.name for column in features if column.name in constant])
    yield from (f"  {'target':<14}  {target.name}: {target}" for target in targets)


def _names(title: str, names: Sequence[str], *, lines: int = 1) -> Iterator[str]:
    """The names, in so many lines; how many more there are where that is not enough."""
    if not names:
        return
    wrapped = textwrap.wrap(", ".join(names), _WIDTH - 18, break_long_words=False, break_on_hyphens=False)
    if len(wrapped) > lines:
        # Counted in what was cut off: a name may be as long as a line.
        n_more = ", ".join(wrapped[lines:]).count(", ") + 1
        wrapped = [*wrapped[: lines - 1], f"{wrapped[lines - 1]} and {n_more} more"]
    for number, line in enumerate(wrapped):
        yield f"  {'' if number else title:<14}  {line}"
