"""Warnings that whoever predicts should read before believing the predictions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from polars import selectors

from shoal.errors import Caution
from shoal.loaded.trained_run import TrainedRun, Which
from shoal.rundir import Status
from shoal.tasks.tables import dates
from shoal.tasks.tables.encoding import tabular
from shoal.tasks.tables.kinds import Date

_FAR = 0.1
"""How far outside the range of the training is far, as a share of that range."""
_MOST = 5
"""Columns that are named."""


def warn(
    runs: Sequence[TrainedRun], which: Which, inputs: Mapping[str, Sequence[Any]], predictions: pl.DataFrame
) -> None:
    """Let whoever predicts from Python know, as Python does."""
    for caution in cautions(runs, which, pl.DataFrame(inputs, strict=False), predictions):
        # Of the line that has called `predict`.
        warnings.warn(caution, Caution, stacklevel=3)


def cautions(runs: Sequence[TrainedRun], which: Which, inputs: pl.DataFrame, predictions: pl.DataFrame) -> list[str]:
    """Sentences about runs that learned nothing, inputs unlike all they saw, and values that were filled in.

    Of several runs that predict together, which were trained on much the same, the first one speaks of the inputs.
    """
    several = len(runs) > 1
    of_runs = [f"{run.path}: {told}" if several else told for run in runs for told in _of_run(run)]
    return [*of_runs, *_of_inputs(runs[0], which, inputs, predictions)]


def _of_inputs(run: TrainedRun, which: Which, inputs: pl.DataFrame, predictions: pl.DataFrame) -> Iterator[str]:
    read = _read(run, which, inputs)
    yield from _of_predictions(predictions)
    yield from _far(read, run.ranges(which))
    yield from _filled(run, which, read)


def _of_run(run: TrainedRun) -> Iterator[str]:
    info = run.info
    if info.status is Status.DIVERGED:
        what = (info.reason or "").partition(":")[0]
        yield f"this run diverged ({what}); these predictions are of a state before that"
    model, mean = info.references.get("model"), info.references.get("mean")
    # Written so that a loss of nan counts as no better.
    if mean is not None and not (model is not None and model < mean):
        guess = "the shares of the classes" if (info.assessment or {}).get("classes") else "the mean"
        losses = f"its loss is {math.nan if model is None else model:.4g}, that one's {mean:.4g}"
        yield f"the model is no better than one that always says {guess}: {losses}"


def _of_predictions(predictions: pl.DataFrame) -> Iterator[str]:
    numbers = predictions.select(selectors.float())
    # A frame without float columns has no rows to ask.
    bad = numbers.select(pl.any_horizontal(~pl.all().is_finite())).to_series().sum() if numbers.width else 0
    if bad:
        yield f"{bad} of {len(predictions)} predictions are not finite"


def _read(run: TrainedRun, which: Which, inputs: pl.DataFrame) -> pl.DataFrame:
    """The inputs as values: missing ones null, dates as years with their fraction."""
    columns = run.columns(which)
    fitted = columns.encoding.get("columns")
    if fitted is None:
        return inputs.select(pl.col(columns.features).cast(pl.Float64, strict=False))
    found = tabular(inputs.to_dict(), fitted, run.format(which))
    # As years, which is how `ranges` knows them.
    times = [column["name"] for column in fitted if column.get("kind") == Date.name]
    return found.with_columns(dict(dates.inputs(found[name], hours=False))["year"].alias(name) for name in times)


def _far(read: pl.DataFrame, ranges: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Which columns have values far outside those of the training, and in how many rows."""
    found: dict[str, pl.Series] = {}
    for name, (low, high) in ranges.items():
        values, margin = read[name].fill_nan(None), _FAR * (high - low)
        far = ((values < low - margin) | (values > high + margin)).fill_null(False)
        if margin and far.any():  # what never varied in training means nothing to the model of a table
            found[name] = far
    if found:
        n = pl.DataFrame(list(found.values())).select(pl.any_horizontal(pl.all())).to_series().sum()
        told = [
            f"{name} {_extreme(read[name].filter(far), low, high)} in {_rows(far)} (trained on {low:.6g} to {high:.6g})"
            for name, far, (low, high) in ((name, far, ranges[name]) for name, far in found.items())
        ]
        yield f"{n} of {_rows(read)} are far outside what the run was trained on: {_few(told)}"


def _filled(run: TrainedRun, which: Which, read: pl.DataFrame) -> Iterator[str]:
    """How many missing values were filled in, and with what."""
    fills = {column["name"]: column.get("fill") for column in run.columns(which).encoding.get("columns", ())}
    told = [
        f"{name} in {n} {'row' if n == 1 else 'rows'} with {_shown(fills[name])}"
        for name in read.columns
        if (n := read[name].null_count()) and fills.get(name) is not None
    ]
    if told:
        yield f"missing values were filled in: {_few(told)}"


def _extreme(values: pl.Series, low: float, high: float) -> str:
    """The value that is farthest outside."""
    least, greatest = float(values.min()), float(values.max())  # type: ignore[arg-type]
    return f"{least if low - least > greatest - high else greatest:.6g}"


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rows(rows: pl.Series | pl.DataFrame) -> str:
    n = int(rows.sum()) if isinstance(rows, pl.Series) else len(rows)
    return f"{n} {'row' if n == 1 else 'rows'}"


def _few(told: Sequence[str]) -> str:
    more = len(told) - _MOST
    return ", ".join(told[:_MOST]) + (f", and {more} more columns" if more > 0 else "")
