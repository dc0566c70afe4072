"""Learning one column of a table from the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import polars as pl
import torch
from jaxtyping import Float, Num
from torch import Tensor

from shoal.errors import ConfigError
from shoal.tasks import assessment
from shoal.tasks.assessment import Assessment
from shoal.tasks.data import Data, Split, shares
from shoal.tasks.tables import baselines, columns, restored
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.columns import Column
from shoal.tasks.task import Task
from shoal.tasks.validated import Validated

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


@dataclass(frozen=True, kw_only=True)
class Table(Validated):
    """One column of a table from others; numbers are standardised, categories one-hot encoded.

    The table is read when its samples, inputs or outputs are first asked for, not before: a model that is already
    trained needs no table.
    """

    target: str
    """Column to predict."""
    features: tuple[str, ...] | None = None
    """Columns to predict it from; all others where null."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that are names of categories, such as postal codes."""
    kind: Kind | None = None
    """What the target is; where null: classes if it is text, true or false, or at most 10 distinct whole
    numbers with three rows to each."""
    missing: Literal["error", "drop", "mean"] = "error"
    """What to do with a row without a value: refuse the table, leave the row out, or put in the mean of the column
    (its most frequent category). A row without a target is never used."""

    @abstractmethod
    def frame(self) -> pl.DataFrame:
        """The whole table."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the table is called in texts."""

    @property
    def inputs(self) -> int:
        return self.prepared.data.train.x.shape[1]

    @property
    def outputs(self) -> int:
        return len(self.prepared.data.encoding.get("classes", [None]))

    @property
    def prepared(self) -> Prepared:
        """The table, read and encoded; the same object while settings and table stay the same.

        Raises:
            ConfigError: where the table is not as the settings say, with the row, column and value.
        """
        try:
            found = _prepared(replace(self, batch_size=None, val_batch_size=None), self._stamp())
            self.fits(len(found.data.train))
        except ConfigError as error:
            value = self.name if error.key == "path" else error.value
            raise ConfigError(f"task.{error.key}", value, error.problem, hint=error.hint, source=error.source) from None
        return found

    def data(self) -> Data:
        return self.prepared.data

    def restored(self, encoding: Mapping[str, Any]) -> Task:
        return restored.Restored(encoding=encoding)

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data) -> Tensor:
        return restored.encode(columns, data.encoding)

    def decode(self, outputs: Tensor, data: Data) -> dict[str, list[Any]]:
        return restored.decode(outputs, data.encoding)

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ("rmse", "mae", "r2") if self.prepared.kind == "regression" else ("accuracy",)

    def metrics(self, outputs: Tensor, target: Tensor) -> Mapping[str, float]:
        """RMSE and MAE in the target's own units and R2; or the accuracy."""
        if self.prepared.kind == "classification":
            return assessment.classification(outputs, target)
        return assessment.regression(self._own_units(outputs), self._own_units(target))

    def assess(self, outputs: Float[Tensor, "samples outputs"]) -> Assessment:
        """What to show of a model, given its outputs for the validation samples (for those of training without any)."""
        data = self.prepared.data
        samples = data.val or data.train
        n = len(data.encoding.get("classes", ()))
        counts = (
            assessment.confusion(outputs.argmax(dim=1), samples.y, n) if n else torch.zeros(0, 0, dtype=torch.int64)
        )
        return Assessment(
            samples="validation" if data.val else "training",
            metrics=self.metrics(outputs, samples.y),
            baselines={name: self.metrics(guess, samples.y) for name, guess in self._baselines(data, samples).items()},
            classes=assessment.scores(counts, tuple(data.encoding.get("classes", ()))),
            confusion=tuple(map(tuple, counts.tolist())),
        )

    def description(self) -> str:
        """The columns with their kinds and missing values, how the rows were divided, and which fold this is."""
        found = self.prepared
        n_val = len(found.data.val) if found.data.val else 0
        rows = f"{found.n_rows} rows: {len(found.data.train)} for training, {n_val} for validation"
        dropped = f", {found.n_dropped} left out for missing values" if found.n_dropped else ""
        n_missing = sum(column.missing for column in found.columns[:-1])
        filled = f", {n_missing} missing values filled in" if self.missing == "mean" and n_missing else ""
        head = f"{self.name}: {found.kind} of {self.target}, {rows}{dropped}{filled}"
        lines = [head, columns.table(found.columns, self.target), super().description()]
        return "\n".join(line for line in lines if line)

    def _stamp(self) -> tuple[int, ...]:
        """Changes when the table does."""
        return ()

    def _own_units(self, values: Tensor) -> Tensor:
        encoding = self.prepared.data.encoding
        own: Tensor = values.double() * encoding["scale"] + encoding["mean"]
        return own

    def _baselines(self, data: Data, samples: Split) -> dict[str, Num[Tensor, "samples outputs"]]:
        x, y, new = data.train.x, data.train.y, samples.x
        if self.prepared.kind == "regression":
            return {"mean": baselines.mean(y, len(new)), "least squares": baselines.least_squares(x, y, new)}
        n = len(data.encoding["classes"])
        return {
            "majority": baselines.majority(y, len(new), n),
            "logistic regression": baselines.logistic_regression(x, y, new, n),
        }


@lru_cache(maxsize=2)
def _prepared(task: Table, stamp: tuple[int, ...]) -> Prepared:
    del stamp
    frame = task.frame()
    names = columns.chosen(frame, task.target, task.features)
    _check_categorical(task, names)
    classes = task.kind == "classification" if task.kind else columns.means_classes(frame, task.target)
    found = [columns.examined(frame, name, categorical=name in task.categorical) for name in names]
    found += [columns.examined_target(frame, task.target, classes=classes)]
    clean = pl.DataFrame([series for series, _ in found])
    kept = _without_missing(clean, task)
    features, target = [column for _, column in found[:-1]], found[-1][1]
    data = _encoded(kept, features, task, classes=classes)
    kind: Kind = "classification" if classes else "regression"
    return Prepared(data, (*features, target), kind, len(clean), len(clean) - len(kept))


def _check_categorical(task: Table, names: Sequence[str]) -> None:
    for name in task.categorical:
        if name not in names:
            raise ConfigError(
                "categorical", task.categorical, f"{name!r} is not among the features: {', '.join(names)}"
            )


def _without_missing(frame: pl.DataFrame, task: Table) -> pl.DataFrame:
    counts = {name: n for name, n in zip(frame.columns, frame.null_count().row(0), strict=True) if n}
    if not counts:
        return frame
    if task.missing == "error":
        rows = frame.select(pl.any_horizontal(pl.all().is_null())).to_series().arg_true()
        name = next(name for name in counts if frame[name][rows[0]] is None)
        raise ConfigError(
            "path",
            None,
            f"row {rows[0] + 1} has no value for {name!r}; {len(rows)} of {len(frame)} rows miss one "
            f"({', '.join(f'{name}: {n}' for name, n in counts.items())})",
            hint="task.missing=drop leaves such rows out, task.missing=mean fills them in",
        )
    kept = frame.drop_nulls(None if task.missing == "drop" else task.target)
    if not len(kept):
        raise ConfigError(
            "missing", task.missing, "leaves no rows: every one misses a value", hint="use task.missing=mean"
        )
    return kept


def _encoded(frame: pl.DataFrame, features: Sequence[Column], task: Table, *, classes: bool) -> Data:
    target = frame[task.target]
    _check_varies(target, task.target, classes=classes)
    known = target.unique().sort().to_list() if classes else []
    labels = codes.classes(target, known) if classes else None
    train, val = _rows(len(frame), task, labels)
    fitted = codes.fit_columns(frame, train, features, fills=task.missing == "mean")
    mean, scale = (0.0, 1.0) if classes else codes.moments(target[train.numpy()])
    x = codes.encoded(frame, fitted)
    y = labels if labels is not None else torch.from_numpy((target.to_numpy() - mean) / scale).float()[:, None]
    about = {"classes": known} if classes else {"mean": mean, "scale": scale}
    kind = "classification" if classes else "regression"
    return Data(
        Split(x[train], y[train]),
        Split(x[val], y[val]) if len(val) else None,
        features=tuple(column.name for column in features),
        targets=tuple(known) if classes else (task.target,),
        encoding={"kind": kind, "target": task.target, "columns": fitted, **about},
    )


def _rows(n: int, task: Table, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    if not task.validates:
        return torch.arange(n), torch.arange(0)
    return shares(n, val_fraction=task.val_fraction, seed=task.seed, folds=task.folds, fold=task.fold, labels=labels)


def _check_varies(target: pl.Series, name: str, *, classes: bool) -> None:
    counts = target.value_counts(sort=True)
    if len(counts) == 1:
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
