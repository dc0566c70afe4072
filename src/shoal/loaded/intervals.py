"""Intervals around the predictions of a formula, from what run.json says of its fit."""

from __future__ import annotations

import polars as pl
import torch

from shoal.errors import UsageError
from shoal.fits import bands
from shoal.loaded.run import Run, Which
from shoal.models import FormulaNetwork
from shoal.tasks.precision import new_tensors


def intervals(run: Run, table: pl.DataFrame, which: Which, level: float) -> pl.DataFrame:
    """The ends of two intervals for each row: `y_low` to `y_high` of a new value, `y_curve_low` and so on of the curve.

    Raises:
        UsageError: where the run fits no formula, or its data do not determine all parameters.
    """
    fit = run.info.fit
    module, columns = run.presented(which), run.columns(which)
    if fit is None or not isinstance(module.model, FormulaNetwork):
        raise UsageError(f"{run.path} fits no formula: its predictions have no intervals", hint="model=formula")
    with torch.no_grad(), new_tensors(double=True):
        x = module.task.encode({name: list(table[name]) for name in table.columns}, columns)
        middle = module.model(x.to(next(module.model.parameters())))[:, 0].double()
    found = bands(module.model, fit, x, level)
    own = columns.of_targets.in_own_units
    ends = {
        f"{columns.targets[0]}{name}{side}": own((middle + sign * half)[:, None])[:, 0].tolist()
        for name, half in (("", found.prediction), ("_curve", found.confidence))
        for side, sign in (("_low", -1), ("_high", 1))
    }
    return pl.DataFrame(ends)
