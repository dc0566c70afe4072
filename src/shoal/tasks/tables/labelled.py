"""Rows with their targets that a model is tested on: read and encoded as those of the training were."""

from __future__ import annotations

from typing import Literal

import polars as pl

from shoal.errors import ConfigError, UsageError, suggestion
from shoal.tasks.data import Split
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.encoding import Encoding
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Number, UnreadableError

Missing = Literal["error", "drop", "mean"]


def labelled(frame: pl.DataFrame, encoding: Encoding, format: Format, missing: Missing, weight: str | None) -> Split:
    """The samples in a table, in the columns of the training; a row without a target is left out.

    So is, where `missing` is `drop`, one without any other value.

    Raises:
        UsageError: where a column is missing, or holds what training never saw.
    """
    target = {"name": encoding["target"], **encoding.get("labels", {})}
    wanted = [*encoding["columns"], target]
    read = codes.tabular(frame.to_dict(), wanted, format)
    if weight is not None:
        read = read.with_columns(weights(frame, weight, format))
    needed = [target["name"], *([weight] if weight else [])]
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
        None if weight is None else codes.numbers(kept[weight]),
    )


def weights(frame: pl.DataFrame, name: str, format: Format) -> pl.Series:
    """The column of weights.

    Raises:
        ConfigError: where there is none, or not of numbers of at least 0.
    """
    if name not in frame.columns:
        raise ConfigError("weight", name, "no such column", hint=suggestion(name, frame.columns, kind="columns"))
    try:
        found = Number().read(frame[name], format)
    except UnreadableError as error:
        raise ConfigError("weight", name, f"row {error.rows[0] + 1}: {error.value!r} {error.problem}") from error
    negative = (found < 0).arg_true()
    if len(negative):
        row = negative[0]
        raise ConfigError("weight", name, f"row {row + 1}: {found[row]} is negative", hint="weights are at least 0")
    return found
