"""Learning one column of a table from the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from typing import Any, Literal

import polars as pl
import torch
from jaxtyping import Float, Num
from torch import Tensor

from shoal.errors import ConfigError
from shoal.tasks import assessment
from shoal.tasks.assessment import Assessment
from shoal.tasks.data import Data, Split, shares
from shoal.tasks.tables import baselines, columns, restored, suspicious
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.columns import Column
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.listing import listing
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
    warnings: tuple[str, ...]
    """What to say of columns that a model had better not be given."""


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
    exclude: tuple[str, ...] = ()
    """Columns to leave out where it is predicted from all others."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that are names of categories, such as postal codes."""
    numeric: tuple[str, ...] = ()
    """Columns of texts that are numbers all the same: with zeros before them, which are codes else."""
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
    def format(self) -> Format:
        """How texts in the table are written, and in the tables that the trained model predicts."""
        return Format()

    @property
    def unnamed(self) -> tuple[str, ...]:
        """Columns that hold the names of rows: left out unless they are asked for."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever trains should know of how the table was read."""
        return ()

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
            found = _prepared(
                replace(self, batch_size=None, val_batch_size=None), self._stamp(), torch.get_default_dtype()
            )
            self.fits(len(found.data.train))
        except ConfigError as error:
            value = self.name if error.key == "path" else error.value
            raise ConfigError(f"task.{error.key}", value, error.problem, hint=error.hint, source=error.source) from None
        return found

    def data(self) -> Data:
        return self.prepared.data

    def restored(self, encoding: Mapping[str, Any]) -> Task:
        return restored.Restored(encoding=encoding, format=self.format)

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data) -> Tensor:
        return restored.encode(columns, data.encoding, self.format)

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
        fitted = found.data.encoding["columns"]
        constant = {column["name"] for column in fitted if not isfinite(column.get("scale", 1.0))}
        lines = [head, *listing(found.columns, constant), *self.notes, *found.warnings]
        return "\n".join([*lines, *filter(None, [super().description()])])

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
def _prepared(task: Table, stamp: tuple[int, ...], dtype: torch.dtype) -> Prepared:
    del stamp, dtype  # they tell apart what has been prepared
    frame, format = task.frame(), task.format
    names = columns.chosen(frame, task.target, task.features, without=task.unnamed, left_out=task.exclude)
    _check_said(task, names)
    numeric = task.target in task.numeric
    classes = (
        task.kind == "classification"
        if task.kind
        else columns.means_classes(frame, task.target, format, numeric=numeric)
    )
    found = [
        columns.examined(frame, name, format, categorical=name in task.categorical, numeric=name in task.numeric)
        for name in names
    ]
    found += [columns.examined_target(frame, task.target, format, classes=classes, numeric=numeric)]
    clean = pl.DataFrame([values for values, _ in found])
    kept = _without_missing(clean, task)
    features, target = [column for _, column in found[:-1]], found[-1][1]
    data = _encoded(kept, features, target, task, classes=classes)
    kind: Kind = "classification" if classes else "regression"
    warned = tuple(suspicious.warnings(clean, features, target))
    return Prepared(data, (*features, target), kind, len(clean), len(clean) - len(kept), warned)


def _check_said(task: Table, names: Sequence[str]) -> None:
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


def _encoded(frame: pl.DataFrame, features: Sequence[Column], label: Column, task: Table, *, classes: bool) -> Data:
    target = frame[task.target]
    _check_varies(target, task.target, classes=classes)
    known = target.unique().sort().to_list() if classes else []
    labels = codes.classes(target, known) if classes else None
    train, val = _rows(len(frame), task, labels)
    fitted = codes.fit_columns(frame, train, features, fills=task.missing == "mean")
    mean, scale = (0.0, 1.0) if classes else codes.moments(target[train.numpy()])
    scale = scale if isfinite(scale) else 1.0
    x = codes.encoded(frame, fitted)
    y = (
        labels
        if labels is not None
        else torch.from_numpy((target.to_numpy() - mean) / scale).to(torch.get_default_dtype())[:, None]
    )
    about = {"classes": known} if classes else {"mean": mean, "scale": scale}
    kind = "classification" if classes else "regression"
    return Data(
        Split(x[train], y[train]),
        Split(x[val], y[val]) if len(val) else None,
        features=tuple(column.name for column in features),
        targets=tuple(known) if classes else (task.target,),
        encoding={"kind": kind, "target": task.target, "labels": label.kind.plain(), "columns": fitted, **about},
    )


def _rows(n: int, task: Table, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    if not task.validates:
        return torch.arange(n), torch.arange(0)
    return shares(n, val_fraction=task.val_fraction, seed=task.seed, folds=task.folds, fold=task.fold, labels=labels)


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
