"""From a table to samples: its columns examined, its rows shared out, both encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import torch
from torch import Tensor

from shoal.errors import ConfigError, UsageError
from shoal.tasks.data import Data, Split
from shoal.tasks.tables import columns, suspicious
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.labelled import labelled, weights

if TYPE_CHECKING:
    from shoal.tasks.tables.table import Table

Kind = Literal["regression", "classification"]


@dataclass(frozen=True)
class Prepared:
    """A table that was read, checked, split and encoded."""

    data: Data
    columns: tuple[Column, ...]
    """The features, then the target."""
    kind: Kind
    n_rows: int
    n_dropped: int
    """Rows left out for a missing value."""
    warnings: tuple[str, ...]
    """What to say of columns that a model had better not be given."""


@lru_cache(maxsize=2)
def prepared(task: Table, stamp: tuple[int, ...], dtype: torch.dtype) -> Prepared:
    """The samples of a table, of the default `dtype`; the same object while settings and `stamp` of files are the same.

    Raises:
        ConfigError: where the table is not as the settings say; its key is without `task.`.
    """
    del stamp, dtype  # they tell apart what has been prepared
    frame = task.frame()
    classes = _means_classes(frame, task)
    found = _examined(frame, task, classes=classes)
    features, target = [column for _, column in found[:-1]], found[-1][1]
    clean = pl.DataFrame([values for values, _ in found])
    weighted = clean if task.weighing is None else clean.with_columns(weights(frame, task.weighing, task.format))
    kept = _without_missing(weighted, task)
    data = _encoded(kept, features, target, task, classes=classes)
    kind: Kind = "classification" if classes else "regression"
    warned = tuple(suspicious.warnings(clean, features, target))
    n_rows = len(clean) - int(_empty(clean).sum())
    return Prepared(_tested(data, task), (*features, target), kind, n_rows, n_rows - len(kept), warned)


def _means_classes(frame: pl.DataFrame, task: Table) -> bool:
    columns.check_target(frame, task.target)
    if task.kind:
        return task.kind == "classification"
    return columns.means_classes(frame, task.target, task.format, numeric=task.target in task.numeric)


def _examined(frame: pl.DataFrame, task: Table, *, classes: bool) -> list[tuple[pl.Series, Column]]:
    """The values of the features, then of the target, and what each of them is."""
    without = [*task.unnamed, *_beside(task)]
    names = columns.chosen(frame, task.target, task.features, without=without, left_out=task.exclude)
    _check_said(frame, task, names)
    found = [
        columns.examined(frame, name, task.format, categorical=name in task.categorical, numeric=name in task.numeric)
        for name in names
    ]
    numeric = task.target in task.numeric
    return [*found, columns.examined_target(frame, task.target, task.format, classes=classes, numeric=numeric)]


def _check_said(frame: pl.DataFrame, task: Table, names: Sequence[str]) -> None:
    """Refuse columns that are said to be something and are not used, and those of which two things are said."""
    said: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        "categorical": (task.categorical, names),
        "numeric": (task.numeric, [*names, task.target]),
    }
    for key, (given, known) in said.items():
        for name in given:
            if name not in known:
                raise ConfigError(key, given, f"{name!r} is not among the features: {', '.join(names)}")
    for name in task.numeric:
        if name in task.categorical:
            raise ConfigError("numeric", task.numeric, f"{name!r} is in task.categorical too")
    for name in _beside(task):
        if name in (task.target, *names):
            used = "the target" if name == task.target else "among the features"
            raise ConfigError(_key(task), name, f"is {used}", hint="weights are a column of their own")


def _beside(task: Table) -> list[str]:
    """The column that is neither the target nor a feature, if there is one."""
    return [task.weighing.column] if task.weighing else []


def _key(task: Table) -> str:
    return task.weighing.key if task.weighing else "weight"


def _empty(frame: pl.DataFrame) -> pl.Series:
    """Which rows hold nothing: those of blank lines."""
    return frame.select(pl.all_horizontal(pl.all().is_null())).to_series()


def _without_missing(frame: pl.DataFrame, task: Table) -> pl.DataFrame:
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
            hint="task.missing=drop leaves such rows out, task.missing=mean fills them in",
        )
    needed = [task.target, *_beside(task)]
    kept = frame.filter(some).drop_nulls(None if task.missing == "drop" else needed)
    if not len(kept):
        raise ConfigError(
            "missing", task.missing, "leaves no rows: every one misses a value", hint="use task.missing=mean"
        )
    return kept


def _encoded(frame: pl.DataFrame, features: Sequence[Column], label: Column, task: Table, *, classes: bool) -> Data:
    target = frame[task.target]
    _check_varies(target, task.target, classes=classes)
    known = target.unique().sort().to_list() if classes else []
    labels = codes.classes(target, known) if classes else None
    train, val, test = task.shares.parts(len(frame), labels)
    fitted = codes.fit_columns(frame, train, features, fills=task.missing == "mean", scaled=bool(task.standardize))
    encoding = {
        "kind": "classification" if classes else "regression",
        "target": task.target,
        "labels": label.kind.plain(),
        "columns": fitted,
        **({"absolute": True} if task.absolute_sigma else {}),
        **(_of_numbers(target[train.numpy()], task) if labels is None else _of_classes(labels[train], known)),
    }
    samples = Split(
        codes.encoded(frame, fitted),
        codes.targets(target, encoding),
        None if task.weighing is None else codes.numbers(frame[task.weighing.column]),
    )
    return Data(
        _checked(samples.at(train), task, "training"),
        _checked(samples.at(val), task, "validation") if len(val) else None,
        features=tuple(column.name for column in features),
        targets=tuple(known) if classes else (task.target,),
        encoding=encoding,
        test=_checked(samples.at(test), task, "test") if len(test) else None,
    )


def _of_numbers(known: pl.Series, task: Table) -> dict[str, Any]:
    if not task.standardize:
        return {"mean": 0.0, "scale": 1.0}
    mean, scale = codes.moments(known)
    return {"mean": mean, "scale": scale if isfinite(scale) else 1.0}


def _of_classes(labels: Tensor, known: list[str]) -> dict[str, Any]:
    return {"classes": known, "counts": torch.bincount(labels, minlength=len(known)).tolist()}


def _checked(samples: Split, task: Table, part: str) -> Split:
    """The samples, if any of them counts."""
    if samples.weight is not None and not samples.weight.any():
        raise ConfigError(_key(task), task.weight, f"is 0 in all {part} rows")
    return samples


def _tested(data: Data, task: Table) -> Data:
    """The samples with those of the table for the test, where there is one."""
    frame = task.test_frame()
    if frame is None:
        return data
    try:
        return replace(data, test=labelled(frame, data.encoding, task.format, task.missing, task.weighing))
    except UsageError as error:
        raise ConfigError("test_path", getattr(task, "test_path", None), error.problem, hint=error.hint) from error


def _check_varies(target: pl.Series, name: str, *, classes: bool) -> None:
    counts = target.value_counts(sort=True)
    if len(counts) == 1 or (not classes and not isfinite(codes.moments(target)[1])):
        what = "one class only" if classes else "the same value in every row"
        raise ConfigError("target", name, f"has {what}: {target[0]!r}", hint="nothing can be learned from it")
    rarest = counts.row(-1)
    if classes and rarest[1] < 2:
        problem = f"its class {rarest[0]!r} has a single row: it cannot be both for training and for validation"
        raise ConfigError(
            "target",
            name,
            problem,
            hint="add rows of that class, or leave it out; if the target is a number, set task.kind=regression",
        )
