"""train.log: what is logged while a run trains, what Lightning logs and what Python warns of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.rundir.lease import ensure


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Let the run's log have what Lightning and warnings say, and give logging back as it was."""
    root = logging.getLogger()
    handlers, level, shown = list(root.handlers), root.level, warnings.showwarning
    # Lightning gives its loggers handlers that write to stderr, and has them pass nothing on.
    for name in ("pytorch_lightning", "lightning_fabric", "lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # What it tells below a warning is of the devices that it has found, and advice.
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback on the terminal
    # Without any handler Python prints warnings on stderr itself.
    if not root.handlers:
        root.addHandler(logging.NullHandler())
    try:
        yield
    finally:
        logging.captureWarnings(False)
        # Where they had been captured before, the line above has ended that as well.
        warnings.showwarning = shown
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def log_through(handler: logging.Handler) -> None:
    """Let `handler`, and no other, have all that is logged, in the form in which Hydra begins a run's log.

    A process whose lease was taken away logs no more: another one writes there.
    """
    handler.addFilter(_is_wanted)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def _is_wanted(record: logging.LogRecord) -> bool:
    del record
    ensure()
    return True
