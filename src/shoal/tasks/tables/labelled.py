"""Rows with their targets that a model is tested on: read and encoded as those of the training were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from shoal.errors import ConfigError, UsageError, suggestion
from shoal.tasks.data import Split
from shoal.tasks.tables import encoding as codes
from shoal.tasks.tables.encoding import Encoding
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import Number, UnreadableError

Missing = Literal["error", "drop", "mean"]


class Weighing(NamedTuple):
    """The column that tells how much each row counts, or one for each target."""

    columns: tuple[str, ...]
    of_errors: bool
    """Whether they hold the standard error of each row's target, and not the weight itself."""

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
    names = target_names(encoding)
    kinds = encoding.get("kinds") or [encoding.get("labels", {})]
    # The targets are read as the features are, so that what is no number is told of them as well.
    wanted = [*encoding["columns"], *({"name": name, **kind} for name, kind in zip(names, kinds, strict=True))]
    read = codes.tabular(frame.to_dict(), wanted, format)
    if weighing is not None:
        read = read.with_columns(weights(frame, weighing, format))
    features = [column["name"] for column in encoding["columns"]]
    rows = usable(read, features, names, weighing, missing)
    if not len(rows):
        told = " or ".join(map(repr, names))
        raise UsageError(f"no row has a value for {told}" + (" and the others" if missing == "drop" else ""))
    kept = read[rows]
    x = codes.encoded(kept, encoding["columns"], rows)
    if len(names) == 1:
        y = codes.targets(kept[names[0]], encoding, rows)
        return Split(x, y, None if weighing is None else codes.numbers(kept[weighing.columns[0]]))
    return Split(x, *of_several(kept, names, weighing))


def target_names(encoding: Encoding) -> tuple[str, ...]:
    """The columns that are predicted."""
    return tuple(encoding["targets"]) if "targets" in encoding else (encoding["target"],)


def usable(
    frame: pl.DataFrame, features: Sequence[str], targets: Sequence[str], weighing: Weighing | None, missing: Missing
) -> pl.Series:
    """The numbers of the rows with a target and what it weighs; where `missing` is `drop`, with all features too."""
    weights = weighing.columns if weighing else ()
    pairs = [
        # A single column of weights is that of every target.
        pl.col(target).is_not_null() & (pl.col(weights[i % len(weights)]).is_not_null() if weights else True)
        for i, target in enumerate(targets)
    ]
    complete = (
        pl.all_horizontal(pl.col(features).is_not_null()) if missing == "drop" and features else pl.lit(value=True)
    )
    return frame.select(pl.any_horizontal(pairs) & complete).to_series().arg_true()


def of_several(
    rows: pl.DataFrame, targets: Sequence[str], weighing: Weighing | None
) -> tuple[Float[Tensor, "samples outputs"], Float[Tensor, "samples *weights"] | None]:
    """Several targets, and how much each counts in each row, which is 0 where it or its weight is missing."""
    # A copy, since torch warns of memory that it must not write to.
    known = torch.stack([torch.from_numpy(rows[name].is_not_null().to_numpy().copy()) for name in targets], dim=1)
    y = torch.stack([codes.numbers(rows[name].fill_null(0.0)) for name in targets], dim=1)
    if weighing is None:
        return y, None if known.all() else known.to(y.dtype)
    weight = torch.stack([codes.numbers(rows[name].fill_null(0.0)) for name in weighing.columns], dim=1)
    return y, weight[:, 0] if known.all() and len(weighing.columns) == 1 else torch.where(known, weight, 0.0)


def weights(frame: pl.DataFrame, weighing: Weighing, format: Format) -> list[pl.Series]:
    """The columns of weights: as they are, or one over the square of the standard errors in them.

    Raises:
        ConfigError: where one is not there, or not of numbers of at least 0; standard errors are above 0.
    """
    return [_weight(frame, name, weighing, format) for name in dict.fromkeys(weighing.columns)]


def _weight(frame: pl.DataFrame, name: str, weighing: Weighing, format: Format) -> pl.Series:
    key = weighing.key
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
    # The weight of least squares: the inverse of the variance.
    return found**-2.0 if weighing.of_errors else found


def _sign(value: float) -> str:
    return "negative" if value < 0 else "zero"
