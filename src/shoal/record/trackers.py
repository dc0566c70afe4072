"""Loggers beside the run's own record, on whom no training depends: one that fails is told of once and left out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytorch_lightning.loggers import Logger

from shoal.errors import brief
from shoal.record.run_record import warn

_CALLS = ("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize")
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""How long a tracker waits for a server that does not answer, unless the environment says so: its own is minutes."""


def usable(loggers: Iterable[Logger]) -> list[Logger]:
    """The loggers that answer, the failures to come kept from the training."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    return [guarded(each) for each in loggers if _answers(each)]


def _answers(logger: Logger) -> bool:
    guard = _Guard(type(logger).__name__)
    guard.around(lambda: getattr(logger, "experiment", None))()
    return not guard.failed


def guarded(logger: Logger) -> Logger:
    """The logger, its failures kept from the training, and what is logged at one step given to it as one row."""
    guard = _Guard(type(logger).__name__)
    for name in _CALLS:
        setattr(logger, name, guard.around(getattr(logger, name)))
    rows, finalize = _Rows(logger.log_metrics), logger.finalize

    def finalized(status: str) -> None:
        rows.close()
        finalize(status)

    vars(logger).update(log_metrics=rows.add, finalize=finalized)
    return logger


class _Guard:
    """Keeps failures from the training: the first is told of, and nothing is called after it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.failed = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self.failed:
                return None
            try:
                return call(*args, **kwargs)
            except Exception as error:  # whatever it is: the record of the run is complete without it
                self.failed = True
                warn(f"{self.kind} is left out from here on: {brief(error)}")
                return None

        return guarded


class _Rows:
    """Gathers what is logged at one step."""

    def __init__(self, log: Callable[..., Any]) -> None:
        self._log = log
        self._step: int | None = None
        self._row: dict[str, float] = {}

    def add(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of a step; another step, or another value of a metric, begins the next."""
        if self._row and (step != self._step or self._row.keys() & metrics.keys() - {"epoch"}):
            self.close()
        self._step = step
        self._row |= metrics

    def close(self) -> None:
        """Log the row."""
        row, self._row = self._row, {}
        if row:
            self._log(row, step=self._step)
