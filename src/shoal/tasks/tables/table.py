"""Learning one column of a table from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

from shoal.errors import ConfigError, suggestion
from shoal.tasks import assessment
from shoal.tasks.assessment import Assessment
from shoal.tasks.data import Data, Split
from shoal.tasks.tables import baselines, restored
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.column_list import listing
from shoal.tasks.tables.preparing import Prepared, prepared
from shoal.tasks.tables.table_settings import TableSettings
from shoal.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Table(TableSettings):
    """One column of a table from others; numbers are standardised, categories one-hot encoded.

    The table is read when its samples, inputs or outputs are first asked for, not before: a model that is already
    trained needs no table.
    """

    def of_formula(self, names: Sequence[str], by: str | None = None, defined: Sequence[str] = ()) -> Table:
        """The table in its own units, with the columns that a formula with these names needs and that of its groups.

        Raises:
            ConfigError: where there is no column of groups, or one of the names that the formula defines itself is one.
        """
        for name in defined:
            if name in self.frame().columns and name not in self.targets:
                hint = f"rename it; or fit the column too: task.target=[{','.join([name, *self.targets])}]"
                raise ConfigError("model.expression", name, "is a column, and a formula's name", hint=hint)
        features = self.features
        if features is None:
            beside = (*self.targets, *self.exclude, *(self.weighing.columns if self.weighing else []))
            columns = [name for name in self.frame().columns if name in names and name not in beside]
            # No column at all: whoever builds the formula says what is missing.
            features = tuple(columns) or None
        if by is not None:
            if by not in self.frame().columns:
                raise ConfigError("model.by", by, "no such column", hint=suggestion(by, self.frame().columns))
            features = (*(name for name in features or () if name != by), by)
        return replace(
            self,
            features=features,
            # Groups are told apart by inputs of 0 and 1, one for each: numbers of groups too.
            categorical=self.categorical if by is None or by in self.categorical else (*self.categorical, by),
            exclude=self.exclude if self.features else (),
            kind=self.kind or "regression",
            # A fit by least squares takes all rows; its errors are told without a validation.
            val_fraction=0.0 if self.val_fraction == "auto" else self.val_fraction,
            standardize=False if self.standardize == "auto" else self.standardize,
        )

    @property
    def names(self) -> Sequence[str]:
        return codes.names(self.prepared.data.encoding["columns"])

    @property
    def inputs(self) -> int:
        return self.prepared.data.train.x.shape[1]

    @property
    def outputs(self) -> int:
        return len(self.prepared.data.targets)

    @property
    def unit(self) -> float:
        return float(self.prepared.data.encoding.get("scale", 1.0))

    @property
    def class_counts(self) -> Tensor | None:
        return restored.counts(self.prepared.data.encoding)

    @property
    def prepared(self) -> Prepared:
        """The table, read and encoded; the same object while settings and table stay the same.

        Raises:
            ConfigError: where the table is not as the settings say, with the row, column and value.
        """
        try:
            # Samples are kept by these settings: those that do not change them are left out, and `units` has no hash.
            plain = replace(self, batch_size=None, val_batch_size=None, drop_last=False, units=None)
            found = prepared(plain, self._stamp(), torch.get_default_dtype())
            self.fits(len(found.data.train))
        except ConfigError as error:
            value = self.name if error.key == "path" else error.value
            raise ConfigError(f"task.{error.key}", value, error.problem, hint=error.hint, source=error.source) from None
        return found

    def data(self) -> Data:
        return self.prepared.data

    def restored(self, encoding: Mapping[str, Any]) -> Task:
        return restored.Restored(encoding=encoding, format=self.format, missing=self.missing, weighing=self.weighing)

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data) -> Tensor:
        return restored.encode(columns, data.encoding, self.format)

    def decode(self, outputs: Tensor, data: Data) -> dict[str, list[Any]]:
        return restored.decode(outputs, data.encoding)

    def assess(self, outputs: Float[Tensor, "samples outputs"]) -> Assessment:
        """What to show of a model, given its outputs for the validation samples (for those of training without any)."""
        data = self.prepared.data
        complete = (data.val or data.train).complete
        samples = (data.val or data.train).at(complete)
        # A row that lacks one of several targets cannot be measured.
        outputs = outputs[complete]
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
        rows += f", {len(found.data.test)} for the test" if found.data.test else ""
        dropped = f", {found.n_dropped} left out for missing values" if found.n_dropped else ""
        n_missing = sum(column.missing for column in found.columns[: -len(self.targets)])
        filled = f", {n_missing} missing values filled in" if self.missing == "mean" and n_missing else ""
        head = f"{self.name}: {found.kind} of {', '.join(self.targets)}, {rows}{dropped}{filled}"
        fitted = found.data.encoding["columns"]
        constant = {column["name"] for column in fitted if not isfinite(column.get("scale", 1.0))}
        lines = [head, *listing(found.columns, constant, n_targets=len(self.targets)), *self.notes, *found.warnings]
        return "\n".join([*lines, *filter(None, [super().description()])])

    def _stamp(self) -> tuple[int, ...]:
        """Changes when the table does."""
        return ()

    def _baselines(self, data: Data, samples: Split) -> dict[str, Num[Tensor, "samples outputs"]]:
        known = data.train.at(data.train.complete)
        x, y, new = known.x, known.y, samples.x
        if self.prepared.kind == "regression":
            return {"mean": baselines.mean(y, len(new)), "least squares": baselines.least_squares(x, y, new)}
        n = len(data.encoding["classes"])
        return {
            "majority": baselines.majority(y, len(new), n),
            "logistic regression": baselines.logistic_regression(x, y, new, n),
        }
