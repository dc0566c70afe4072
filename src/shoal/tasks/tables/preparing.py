"""From a table to samples: its rows shared out, and encoded by what those for training are."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import polars as pl
import torch
from torch import Tensor

from shoal.errors import ConfigError, UsageError
from shoal.tasks.data import Data, Split
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.examining import Examined, examined, weight_key
from shoal.tasks.tables.labelled import labelled, of_several
from shoal.tasks.tables.table_settings import Kind, TableSettings

_Key = tuple[TableSettings, tuple[int, ...], torch.dtype]
_KEPT_BYTES = 128 * 2**20
"""Of samples that are kept for whoever asks again: a sweep over seeds asks for each of its splits several times."""
_KEPT_AT_LEAST = 2


@dataclass(frozen=True)
class Prepared:
    """A table that was read, checked, split and encoded."""

    data: Data
    columns: tuple[Column, ...]
    """The features, then the targets."""
    kind: Kind
    n_rows: int
    n_dropped: int
    """Rows left out for a missing value."""
    warnings: tuple[str, ...]
    """What to say of columns that a model had better not be given."""


_kept: OrderedDict[_Key, Prepared] = OrderedDict()
"""What was asked for last, the oldest first."""


def prepared(task: TableSettings, stamp: tuple[int, ...], dtype: torch.dtype) -> Prepared:
    """The samples of a table, of the default `dtype`; the same object while settings and `stamp` of files are the same.

    Raises:
        ConfigError: where the table is not as the settings say; its key is without `task.`.
    """
    key = (task, stamp, dtype)
    if key not in _kept:
        _kept[key] = _prepared(task, stamp)
        _forget_what_is_too_much()
    # Asked for again: the last to be forgotten.
    _kept.move_to_end(key)
    return _kept[key]


def _forget_what_is_too_much() -> None:
    while len(_kept) > _KEPT_AT_LEAST and sum(map(_n_bytes, _kept.values())) > _KEPT_BYTES:
        _kept.popitem(last=False)


def _n_bytes(found: Prepared) -> int:
    parts = (found.data.train, found.data.val, found.data.test)
    return sum(part.x.nbytes + part.y.nbytes for part in parts if part is not None)


def _prepared(task: TableSettings, stamp: tuple[int, ...]) -> Prepared:
    # Whoever shares out the rows in another way finds the same table examined.
    found = examined(replace(task, seed=0, val_fraction=0.0, test_fraction=0.0, folds=None, fold=0), stamp)
    return Prepared(
        _tested(_encoded(found, task), task),
        (*found.features, *found.targets),
        "classification" if found.classes else "regression",
        found.n_rows,
        found.n_rows - len(found.rows),
        found.warnings,
    )


def _encoded(found: Examined, task: TableSettings) -> Data:
    frame, labels = found.rows, found.labels
    # Before anything is fitted: means and categories come from the training rows alone.
    train, val, test = task.shares.parts(len(frame), labels)
    fills, scaled = task.missing == "mean", bool(task.standardize)
    fitted = codes.fit_columns(frame, train, found.features, fills=fills, scaled=scaled)
    encoding = {
        "kind": "regression" if labels is None else "classification",
        **_named(found),
        "columns": fitted,
        **({"absolute": True} if task.absolute_sigma else {}),
        **(_of_numbers(frame[train.numpy()], task) if labels is None else _of_classes(labels[train], found.classes)),
    }
    samples = Split(codes.encoded(frame, fitted), *_targets(found, task, encoding))
    return Data(
        _checked(samples.at(train), task, "training"),
        _checked(_complete(samples.at(val)), task, "validation") if len(val) else None,
        # By column and not by input: a table with new rows has columns.
        features=tuple(column.name for column in found.features),
        targets=found.classes or task.targets,
        encoding=encoding,
        test=_checked(_complete(samples.at(test)), task, "test") if len(test) else None,
    )


def _named(found: Examined) -> dict[str, Any]:
    """The targets, and how they are read."""
    if len(found.targets) == 1:
        return {"target": found.targets[0].name, "labels": found.targets[0].kind.plain()}
    return {
        "targets": [target.name for target in found.targets],
        "kinds": [target.kind.plain() for target in found.targets],
    }


def _targets(found: Examined, task: TableSettings, encoding: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """The targets, and how much they count."""
    if len(task.targets) > 1:
        return of_several(found.rows, task.targets, task.weighing)
    y = codes.targets(found.rows[task.targets[0]], encoding) if found.labels is None else found.labels
    return y, None if task.weighing is None else codes.numbers(found.rows[task.weighing.columns[0]])


def _of_numbers(known: pl.DataFrame, task: TableSettings) -> dict[str, Any]:
    if not task.standardize:
        return {"mean": 0.0, "scale": 1.0}
    if len(task.targets) > 1:
        problem = "are several, and no scale is one for all"
        raise ConfigError("target", task.target, problem, hint="model=formula, or task.standardize=false")
    mean, scale = codes.moments(known[task.targets[0]])
    return {"mean": mean, "scale": scale if isfinite(scale) else 1.0}


def _of_classes(labels: Tensor, known: tuple[str, ...]) -> dict[str, Any]:
    return {"classes": list(known), "counts": torch.bincount(labels, minlength=len(known)).tolist()}


def _complete(samples: Split) -> Split:
    """The samples that predictions can be held beside: those that miss none of several targets."""
    complete = samples.complete
    return samples if complete.all() else samples.at(complete)


def _checked(samples: Split, task: TableSettings, part: str) -> Split:
    """The samples, if any of them counts."""
    if samples.weight is not None and not samples.weight.any():
        raise ConfigError(weight_key(task), task.weight, f"is 0 in all {part} rows")
    return samples


def _tested(data: Data, task: TableSettings) -> Data:
    """The samples with those of the table for the test, where there is one."""
    frame = task.test_frame()
    if frame is None:
        return data
    try:
        return replace(data, test=labelled(frame, data.encoding, task.format, task.missing, task.weighing))
    except UsageError as error:
        raise ConfigError("test_path", getattr(task, "test_path", None), error.problem, hint=error.hint) from error
