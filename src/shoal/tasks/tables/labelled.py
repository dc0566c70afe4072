"""Rows with their targets that a model is tested on: read and encoded as those of the training were."""

from __future__ import annotations

from typing import Literal, NamedTuple

import polars as pl

from shoal.errors import ConfigError, UsageError, suggestion
from shoal.tasks.data import Split
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.encoding import Encoding
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Number, UnreadableError

Missing = Literal["error", "drop", "mean"]


class Weighing(NamedTuple):
    """The column that tells how much each row counts."""

    column: str
    of_errors: bool
    """Whether it holds the standard error of each row's target, and not the weight itself."""

    @property
    def key(self) -> str:
        """The setting that names it."""
        return "sigma" if self.of_errors else "weight"


def labelled(
    frame: pl.DataFrame, encoding: Encoding, format: Format, missing: Missing, weighing: Weighing | None
) -> Split:
    """The samples in a table, in the columns of the training; a row without a target is left out.

    So is, where `missing` is `drop`, one without any other value.

    Raises:
        UsageError: where a column is missing, or holds what training never saw.
    """
    target = {"name": encoding["target"], **encoding.get("labels", {})}
    wanted = [*encoding["columns"], target]
    read = codes.tabular(frame.to_dict(), wanted, format)
    if weighing is not None:
        read = read.with_columns(weights(frame, weighing, format))
    needed = [target["name"], *([weighing.column] if weighing else [])]
    known = read.select(pl.all_horizontal(pl.col(read.columns if missing == "drop" else needed).is_not_null()))
    rows = known.to_series().arg_true()
    if not len(rows):
        raise UsageError(
            f"no row has a value for {target['name']!r}" + (" and the others" if missing == "drop" else "")
        )
    kept = read[rows]
    return Split(
        codes.encoded(kept, encoding["columns"], rows),
        codes.targets(kept[target["name"]], encoding, rows),
        None if weighing is None else codes.numbers(kept[weighing.column]),
    )


def weights(frame: pl.DataFrame, weighing: Weighing, format: Format) -> pl.Series:
    """The column of weights: as it is, or one over the square of the standard errors in it.

    Raises:
        ConfigError: where there is none, or not of numbers of at least 0; standard errors are above 0.
    """
    name, key = weighing.column, weighing.key
    if name not in frame.columns:
        raise ConfigError(key, name, "no such column", hint=suggestion(name, frame.columns, kind="columns"))
    try:
        found = Number().read(frame[name], format)
    except UnreadableError as error:
        raise ConfigError(key, name, f"row {error.rows[0] + 1}: {error.value!r} {error.problem}") from error
    wrong = (found <= 0 if weighing.of_errors else found < 0).arg_true()
    if len(wrong):
        row = wrong[0]
        hint = "standard errors are above 0" if weighing.of_errors else "weights are at least 0"
        raise ConfigError(key, name, f"row {row + 1}: {found[row]} is {_sign(found[row])}", hint=hint)
    return found**-2.0 if weighing.of_errors else found


def _sign(value: float) -> str:
    return "negative" if value < 0 else "zero"
