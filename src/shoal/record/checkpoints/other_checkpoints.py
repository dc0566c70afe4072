"""Where checkpoints lie that callbacks of Lightning's own write beside those of the record."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from shoal.rundir import RunDir


def place_in(run: RunDir, callbacks: Mapping[str, pl.Callback]) -> None:
    """Let them lie in the run's directory, each callback's in a folder of its name, unless it has another place."""
    for name, each in callbacks.items():
        if isinstance(each, ModelCheckpoint) and each.dirpath is None:
            each.dirpath = str(run.checkpoints / name)
            # Lightning writes `epoch=3.ckpt`: an override would have to quote that, and no file of a run is named so.
            each.CHECKPOINT_EQUALS_CHAR = "-"
