"""Says at which learning rate a training goes on, where that is not what one would think."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from shoal.names import LR
from shoal.optimizers import rate_of

log = logging.getLogger("shoal")


def tell_rate(state: Mapping[str, Any], now: float) -> None:
    """Compare the learning rate of the next step with the one that a saved state left."""
    then = float(state["optimizer_states"][0]["param_groups"][0].get(LR, math.nan))
    epoch = state["epoch"]
    if now == 0:
        text = f"warning: the scheduler has come to a learning rate of 0: nothing is learned in epoch {epoch}"
    elif f"{now:.6g}" != f"{then:.6g}":  # as they are shown: rounding is not to be told as 0.001 -> 0.001
        text = f"changed  learning rate of epoch {epoch}: {then:.6g} -> {now:.6g}"
    else:
        return
    log.info("%s", text)
    print(text, file=sys.stderr)


class RateTold(pl.Callback):
    """The same as a callback, for a training under the Lightning engine."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the optimizer once it goes on."""
        if self._state["optimizer_states"]:
            tell_rate(self._state, rate_of(trainer.optimizers[0]))
