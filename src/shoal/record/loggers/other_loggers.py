"""Loggers of the user's own that outlive a training, if nobody ends them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger


@contextmanager
def finishing(loggers: Iterable[Logger]) -> Iterator[None]:
    """End each W&B run that a logger begins within: the next logger would go on writing into it.

    One that was under way before, in a program of the user's own, is theirs to end.
    """
    before, code = _under_way(), 1
    try:
        yield
        code = 0
    finally:
        for logger in loggers:
            begun = logger._experiment if isinstance(logger, WandbLogger) else None
            if begun is not None and begun is not before:
                begun.finish(exit_code=code)
                # Else the logger gives a later training the run that has ended.
                logger._experiment = None  # type: ignore[attr-defined]


def _under_way() -> Any:
    """The W&B run that this process writes into; None where there is none."""
    # Not imported for this: where nobody has imported it, it has no run.
    return getattr(sys.modules.get("wandb"), "run", None)
