"""Intervals around predictions: of a formula from what run.json says of its fit, of all else by calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import torch

from shoal.errors import UsageError
from shoal.fits import bands, possible
from shoal.loaded.conformal import calibrate
from shoal.loaded.evaluation import held_out
from shoal.loaded.trained_run import TrainedRun, Which
from shoal.models import FormulaNetwork
from shoal.tasks import Data, Supervised
from shoal.tasks.precision import new_tensors


def intervals(
    run: TrainedRun, inputs: Mapping[str, Sequence[Any]], predicted: pl.DataFrame, which: Which, level: float
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Columns for each row of the `inputs` that a run predicted, and what they rest on, in sentences.

    Of a formula the ends of two intervals: `y_low` to `y_high` of a new value, `y_curve_low` and so on of the curve.
    Else those of a new value, or of classes `y_set`, those that cannot be ruled out: see `shoal.loaded.conformal`.

    Raises:
        UsageError: where the data do not determine all of a formula's parameters, there is no test part, or the level
            is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise UsageError(f"interval={level}: must be between 0 and 1", hint="for example 0.95")
    fit, module = run.info.fit, run.presented(which)
    # A formula's errors are known from its fit: nothing has to be held back.
    if fit is not None and isinstance(module.model, FormulaNetwork):
        return _of_formula(module, fit, run.columns(which), inputs, level), ()
    found = calibrate(held_out(run, which), level)
    return found.columns(predicted), (found.told,)


def _of_formula(
    module: Supervised, fit: Mapping[str, Any], columns: Data, inputs: Mapping[str, Sequence[Any]], level: float
) -> pl.DataFrame:
    assert isinstance(module.model, FormulaNetwork)
    with torch.no_grad(), new_tensors(double=True):
        x = module.task.encode(dict(inputs), columns)
        middle = module.model(x.to(next(module.model.parameters()))).double()
    found = bands(module.model, module.loss, fit, x, level)
    own = columns.of_targets.in_own_units
    ends = {
        f"{target}{name}{side}": own(possible(module.loss, middle + sign * half))[:, i].tolist()
        for i, target in enumerate(columns.targets)
        for name, half in (("", found.prediction), ("_curve", found.confidence))
        for side, sign in (("_low", -1), ("_high", 1))
    }
    return pl.DataFrame(ends)
