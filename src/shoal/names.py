"""The names that more than one layer uses: of metrics, of columns, and of the settings that repeat a configuration."""

from __future__ import annotations

from collections.abc import Iterable

TRAIN_LOSS = "train/loss"
VAL_LOSS = "val/loss"
TEST_LOSS = "test/loss"
LR = "lr"
GRAD_NORM = "grad_norm"
GRAD_NORM_CLIPPED = "grad_norm_clipped"
DERIVATIVE = "derivative/rmse"
"""How far the fitted curve's slope is from the true one's, measured once at the end."""

STEP = "step"
"""Column of metrics.csv: optimizer steps taken when the row was written."""
EPOCH = "epoch"
"""Column of metrics.csv: the epoch the row belongs to, counted from 0."""

IMMATERIAL = ("outputs", "debug", "resume", "tags", "note")
"""Settings at the top of a configuration that have no part in what a result is."""

RUN_DIRECTORY = "<run directory>"
"""Stands in a configuration for the directory of its run, until that is known."""

HALVED = "halving after epoch"
"""How the reason of a run begins that halving has stopped."""

_REPEATS = {"seed": "seeds", "fold": "folds"}


def repeats(setting: str) -> bool:
    """Whether the values of a setting repeat a configuration; the last part of its name tells."""
    return setting.rpartition(".")[2] in _REPEATS


def repeated_over(settings: Iterable[str]) -> str:
    """What those of the settings that repeat a configuration are called together: `seeds and folds`."""
    return " and ".join(dict.fromkeys(_REPEATS[name.rpartition(".")[2]] for name in settings if repeats(name)))


def halved(reason: str | None) -> bool:
    """Whether this is why a run that halving has stopped did not go on."""
    return reason is not None and reason.startswith(HALVED)


def error_name(parameter: str) -> str:
    """What the metric is called that has the standard error of a formula's parameter."""
    return f"{parameter}/error"
