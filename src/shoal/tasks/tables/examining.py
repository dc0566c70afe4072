"""From a table to rows that can be used: its columns examined, its cells read, what is missing left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import polars as pl
from torch import Tensor

from shoal.errors import ConfigError
from shoal.tasks.tables import columns, left_unread, suspicious
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.labelled import usable, weights
from shoal.tasks.tables.table_settings import TableSettings


@dataclass(frozen=True)
class Examined:
    """A table that was read and checked, before its rows are shared out: the same for every seed and fold."""

    rows: pl.DataFrame
    """Those that are used: the features, the target, and what they weigh."""
    features: tuple[Column, ...]
    targets: tuple[Column, ...]
    classes: tuple[str, ...]
    """Those of the target, sorted; none where it is numbers."""
    labels: Tensor | None
    """The index of each row's class."""
    n_rows: int
    """Rows that are not blank, used or not."""
    warnings: tuple[str, ...]
    """What to say of columns that were not read whole, and of those that a model had better not be given."""


@lru_cache(maxsize=2)
def examined(task: TableSettings, stamp: tuple[int, ...]) -> Examined:
    """What a table holds; the same object while settings and `stamp` of files are the same.

    Raises:
        ConfigError: where the table is not as the settings say; its key is without `task.`.
    """
    del stamp  # it tells apart what has been examined
    frame = task.frame()
    classes = _means_classes(frame, task)
    found = _columns(frame, task, classes=classes)
    n = len(task.targets)
    features, targets = (tuple(column for _, column in part) for part in (found[:-n], found[-n:]))
    # Of the columns that are used: a missing value in another one leaves no row out.
    clean = pl.DataFrame([values for values, _ in found])
    weighted = clean if task.weighing is None else clean.with_columns(weights(frame, task.weighing, task.format))
    kept = _without_missing(weighted, task)
    label = kept[task.targets[0]]
    for name in task.targets:
        # On no scale, the same number everywhere can be meant: an implicit formula is fitted to 0.
        _check_varies(kept[name].drop_nulls(), name, classes=classes, may_be_one=task.standardize is False)
    known = tuple(label.unique().sort().to_list()) if classes else ()
    warnings = [
        *left_unread.warnings(frame, [*features, *targets], task.format),
        # Once, where several targets have the same said of them.
        *dict.fromkeys(each for target in targets for each in suspicious.warnings(clean, features, target)),
    ]
    return Examined(
        kept,
        features,
        targets,
        known,
        codes.classes(label, known) if classes else None,
        len(clean) - int(_empty(clean).sum()),
        tuple(warnings),
    )


def weight_key(task: TableSettings) -> str:
    """The setting that names the column of weights."""
    return task.weighing.key if task.weighing else "weight"


def _means_classes(frame: pl.DataFrame, task: TableSettings) -> bool:
    for name in task.targets:
        columns.check_target(frame, name)
    if len(task.targets) > 1 or len(set(task.targets)) < len(task.targets):
        _check_several(task)
        return False
    if task.kind:
        return task.kind == "classification"
    [target] = task.targets
    return columns.means_classes(frame, target, task.format, numeric=target in task.numeric)


def _check_several(task: TableSettings) -> None:
    if len(set(task.targets)) < len(task.targets):
        raise ConfigError("target", task.target, "must be different columns")
    if task.kind == "classification":
        raise ConfigError("kind", task.kind, "is for one target", hint="task.target=COLUMN")


def _columns(frame: pl.DataFrame, task: TableSettings, *, classes: bool) -> list[tuple[pl.Series, Column]]:
    """The values of the features, then of the target, and what each of them is."""
    # Unless they are asked for: names of rows, and weights.
    without = [*task.unnamed, *_beside(task)]
    names = columns.chosen(frame, task.targets, task.features, without=without, left_out=task.exclude)
    _check_said(frame, task, names)
    found = [
        columns.examined(frame, name, task.format, categorical=name in task.categorical, numeric=name in task.numeric)
        for name in names
    ]
    targets = [
        columns.examined_target(frame, name, task.format, classes=classes, numeric=name in task.numeric)
        for name in task.targets
    ]
    return [*found, *targets]


def _check_said(frame: pl.DataFrame, task: TableSettings, names: Sequence[str]) -> None:
    """Refuse columns that are said to be something and are not used, and those of which two things are said."""
    said: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        "categorical": (task.categorical, names),
        "numeric": (task.numeric, [*names, *task.targets]),
    }
    for key, (given, known) in said.items():
        for name in given:
            if name not in known:
                raise ConfigError(key, given, f"{name!r} is not among the features: {', '.join(names)}")
    for name in task.numeric:
        if name in task.categorical:
            raise ConfigError("numeric", task.numeric, f"{name!r} is in task.categorical too")
    for name in _beside(task):
        if name in (*task.targets, *names):
            used = "the target" if name in task.targets else "among the features"
            raise ConfigError(weight_key(task), name, f"is {used}", hint="weights are a column of their own")


def _beside(task: TableSettings) -> list[str]:
    """The columns that are neither targets nor features, if there are any."""
    return list(task.weighing.columns) if task.weighing else []


def _empty(frame: pl.DataFrame) -> pl.Series:
    """Which rows hold nothing: those of blank lines."""
    return frame.select(pl.all_horizontal(pl.all().is_null())).to_series()


def _without_missing(frame: pl.DataFrame, task: TableSettings) -> pl.DataFrame:
    """The rows that are used."""
    some = ~_empty(frame)
    counts = {name: n for name in frame.columns if (n := int((frame[name].is_null() & some).sum()))}
    if counts and task.missing == "error":
        rows = (frame.select(pl.any_horizontal(pl.all().is_null())).to_series() & some).arg_true()
        name = next(name for name in counts if frame[name][rows[0]] is None)
        raise ConfigError(
            "path",
            None,
            f"row {rows[0] + 1} has no value for {name!r}; {len(rows)} of {int(some.sum())} rows miss one "
            f"({', '.join(f'{name}: {n}' for name, n in counts.items())})",
            hint="task.missing=drop leaves such rows out, task.missing=mean fills them in"
            if len(task.targets) == 1
            else "task.missing=drop leaves out rows without an input, and targets that are missing",
        )
    features = [name for name in frame.columns if name not in (*task.targets, *_beside(task))]
    filled = frame.filter(some)
    kept = filled[usable(filled, features, task.targets, task.weighing, task.missing)]
    if not len(kept):
        raise ConfigError(
            "missing", task.missing, "leaves no rows: every one misses a value", hint="use task.missing=mean"
        )
    return kept


def _check_varies(target: pl.Series, name: str, *, classes: bool, may_be_one: bool) -> None:
    counts = target.alias("value").value_counts(sort=True)  # beside which there is a column "count"
    one = len(counts) == 1 or not (classes or isfinite(codes.moments(target)[1]))
    if one and (classes or not may_be_one):
        what = "one class only" if classes else "the same value in every row"
        raise ConfigError("target", name, f"has {what}: {target[0]!r}", hint="nothing can be learned from it")
    # The last, as they are sorted by their counts.
    rarest = counts.row(-1)
    if classes and rarest[1] < 2:
        problem = f"its class {rarest[0]!r} has a single row: it cannot be both for training and for validation"
        raise ConfigError(
            "target",
            name,
            problem,
            hint="add rows of that class, or leave it out; if the target is a number, set task.kind=regression",
        )
