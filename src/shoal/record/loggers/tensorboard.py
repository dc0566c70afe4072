"""The choice to write an event file."""

from __future__ import annotations

from pytorch_lightning.loggers.logger import DummyLogger


class TensorBoard(DummyLogger):
    """Asks the recorder for the run directory's own event file; Lightning itself logs nothing through it."""
