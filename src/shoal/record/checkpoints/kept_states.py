"""The states of a run on their way to the disk, in an order that leaves something to go on from at every moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

from shoal.record.checkpoints.checkpoint_file import EXTRA, SealedIO
from shoal.record.checkpoints.weights import equal
from shoal.rundir import RunDir
from shoal.rundir.atomic import copy


class KeptStates:
    """The last and the best state of a run, and the first until there is another."""

    def __init__(self, run: RunDir, *, sync: Callable[[], None], beside_first: Callable[[], Mapping[str, Any]]) -> None:
        """`sync` makes the run's other files last; `beside_first` gives what is kept with the first state."""
        self.run = run
        self.best: dict[str, Any] | None = None
        """It waits in memory until it is written."""
        self.first: dict[str, Any] | None = None
        """Likewise; it is dropped once there is another."""
        self.step = -1
        """Optimizer steps done in the last state that was written, or gone on from."""
        self.written_at = time.monotonic()
        self._sync = sync
        self._beside_first = beside_first
        self._shown: Mapping[str, Any] | None = None
        """The weights in the last state that was written."""

    def write(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        """Write the last state, and the best one where it is new.

        The best goes first where it is another: after a crash between the two, the older last state leads to it again.
        """
        step = int(state["global_step"])
        if trainer.is_global_zero and self.best is not None and self.best["global_step"] != step:
            self.write_best()
        # A state counts on rows of the other files: after a crash they must be there if it is.
        self._sync()
        trainer.strategy.save_checkpoint(state, self.run.last)
        self.written_at, self.step, self.first = time.monotonic(), step, None
        self._shown = state["state_dict"]
        if trainer.is_global_zero:
            self.write_best()

    def write_best(self) -> None:
        """Write the best state where it is not on the disk yet; a run that has no last state gets it as that too."""
        if self.best is None:
            return
        self._sync()
        last = self._shown if self.best["global_step"] == self.step else None
        # The weights may differ at one step: averaged ones are in the place of those that it was judged by.
        if last is not None and equal(self.best["state_dict"], last):
            copy(self.run.last, self.run.best)
        else:
            SealedIO().save_checkpoint(self.best, self.run.best)
        if not self.run.last.exists():
            copy(self.run.best, self.run.last)
        self.best = None

    def write_first(self) -> None:
        """Write the state that the training began with, where nothing was written since."""
        if self.first is None or self.run.last.exists():
            return
        self.first[EXTRA] |= self._beside_first()
        SealedIO().save_checkpoint(self.first, self.run.last)
        self.first = None
