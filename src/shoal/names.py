"""The names that more than one layer uses: metrics, and the files of a run directory."""

from __future__ import annotations

TRAIN_LOSS = "train/loss"
VAL_LOSS = "val/loss"
LR = "lr"
GRAD_NORM = "grad_norm"
GRAD_NORM_CLIPPED = "grad_norm_clipped"
DERIVATIVE = "derivative/rmse"
"""How far the fitted curve's slope is from the true one's, measured once at the end."""

STEP = "step"
"""Column of metrics.csv: optimizer steps taken when the row was written."""
EPOCH = "epoch"
"""Column of metrics.csv: the epoch the row belongs to, counted from 0."""

REPEATS = {"seed": "seeds", "fold": "folds"}
"""Settings whose values repeat a configuration, by the last part of their names, and how several are called."""
