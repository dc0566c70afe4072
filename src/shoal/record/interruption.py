"""Signals: the first one stops a run at the next boundary between two steps, a second one stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from shoal.engines.position import Position
from shoal.record.checkpoints.checkpoint import Checkpoint
from shoal.signals import STOPPING, Interrupted, listening


class Interruption(pl.Callback):
    """Looks between two steps whether a signal has come, and if so saves and raises `Interrupted`."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None
        self.received: int | None = None
        self.stopped: Interrupted | None = None
        """The second signal, once it has come."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop here if asked to, unless gradients are still being accumulated."""
        if self.received is None or self.checkpoint is None or batch_idx % trainer.accumulate_grad_batches:
            return
        position = Position(trainer.current_epoch, batch_idx, trainer.global_step)
        self.checkpoint.save(trainer, position)
        raise self.at(position)

    def at(self, position: Position) -> Interrupted:
        """What to raise once the state at this position is saved."""
        assert self.received is not None
        return Interrupted(self.received, f"at step {position.step} (epoch {position.epoch})")

    def finish(self) -> None:
        """Say that a signal came when there was nothing left to stop.

        Raises:
            Interrupted: so that whatever started the run learns of the signal too.
        """
        if self.received is not None:
            raise Interrupted(self.received, "when the run was complete")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of signals while the block runs; off the main thread there are none to take note of."""
        before: Mapping[int, Any] = {}
        try:
            with listening(self._receive) as before:
                yield
        finally:
            self._pass_on(before.get(self.received or 0))

    def _pass_on(self, handler: Any) -> None:
        """Let whoever listened before, a sweep in this process for one, know of the signal too."""
        # Python's own would raise KeyboardInterrupt, though the run has stopped as it was asked to.
        if callable(handler) and handler is not signal.default_int_handler:
            handler(self.received, None)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            return
        for each in STOPPING:
            signal.signal(each, signal.SIG_DFL)  # a third one needs nobody's help any more
        self.stopped = Interrupted(number, "twice, and stopped at once: it goes on from its last checkpoint")
        raise self.stopped

    def cause(self, error: BaseException) -> BaseException:
        """The error that ended the run; code that a second signal interrupts may raise another one in its place."""
        return self.stopped or error
