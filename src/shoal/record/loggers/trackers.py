"""Loggers beside the run's own record, on whom no training depends: one that fails is told of once and left out."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from shoal.engines.job import Job
from shoal.errors import brief, warn
from shoal.names import STEP
from shoal.record.loggers.hyperparameters import hyperparameters
from shoal.record.loggers.other_loggers import finishing
from shoal.record.loggers.recorder import Recorder
from shoal.record.loggers.tensorboard import TensorBoard
from shoal.rundir import RunDir, RunInfo

_CALLS = ("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize")
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_INIT_TIMEOUT": "20",
}
"""How long a tracker waits for a server that does not answer, unless the environment says so: its own is minutes."""
AGAIN_SECONDS = 600.0
"""After so long a tracker that did not answer is asked again: the runs of a sweep must not wait for it one by one."""
_down: dict[type[Logger], float] = {}
"""When loggers of a class were found not to answer."""


def usable(job: Job, run: RunDir, info: RunInfo) -> list[Logger]:
    """A job's loggers beside the event file, as far as they answer, the failures to come kept from the training.

    Each is told the run's name and directory, and by what it differs from others.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    found = []
    for logger in job.loggers.values():
        if not isinstance(logger, TensorBoard) and not _is_down(logger):
            # Named before it is asked: `experiment` begins the tracker's run, under the name that it has then.
            _name(logger, run, info)
            if _answers(logger):
                found.append(guarded(logger))
                logger.log_hyperparams(
                    {**hyperparameters(info, job.config), "run": info.id, "path": str(run.path.absolute())}
                )
    return found


@contextmanager
def following(recorder: Recorder, loggers: Sequence[Logger]) -> Iterator[None]:
    """Let loggers be told each row that is recorded in the block, and then whether the training failed."""

    def told(row: Mapping[str, float]) -> None:
        for logger in loggers:
            _tell_row(logger, row)

    recorder.listeners.append(told)
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        # The last row waits for another one to begin, and none does.
        recorder.close_row()
        for logger in loggers:
            logger.finalize(status)


def tell(job: Job, run: RunDir, info: RunInfo, rows: Sequence[Mapping[str, float]], *, failed: bool) -> None:
    """Tell a job's loggers beside the event file of a run that has come to its end."""
    with finishing(job.loggers.values()):
        for logger in usable(job, run, info):
            for row in rows:
                _tell_row(logger, row)
            logger.finalize("failed" if failed else "success")


def _tell_row(logger: Logger, row: Mapping[str, float]) -> None:
    logger.log_metrics({name: value for name, value in row.items() if name != STEP}, step=int(row[STEP]))


def _name(logger: Logger, run: RunDir, info: RunInfo) -> None:
    """Give what the tracker keeps the name of the run, unless the configuration has named it."""
    # One with an id goes on with a run that is there, and has a name. Neither logger has a public way to be named.
    if isinstance(logger, MLFlowLogger) and logger._run_id is None:
        logger._run_name = logger._run_name or info.id
        logger.tags = {"path": str(run.path.absolute()), **(logger.tags or {})}
    if isinstance(logger, WandbLogger):
        named = logger._wandb_init.get("name") or info.id
        logger._name = named
        tags = [*(logger._wandb_init.get("tags") or []), run.path.name]
        logger._wandb_init.update(name=named, tags=tags)


def _is_down(logger: Logger) -> bool:
    return time.monotonic() - _down.get(type(logger), -AGAIN_SECONDS) < AGAIN_SECONDS


def _answers(logger: Logger) -> bool:
    guard = _Guard(type(logger))
    # Their `experiment` is what asks the server.
    guard.around(lambda: getattr(logger, "experiment", None))()
    return not guard.failed


def guarded(logger: Logger) -> Logger:
    """The logger, its failures kept from the training, and what is logged at one step given to it as one row."""
    guard = _Guard(type(logger))
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

    def __init__(self, kind: type[Logger]) -> None:
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
                _down[self.kind] = time.monotonic()
                warn(f"{self.kind.__name__} is left out from here on: {brief(error)}")
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
        # Lightning adds the epoch to everything that it logs.
        if self._row and (step != self._step or self._row.keys() & metrics.keys() - {"epoch"}):
            self.close()
        self._step = step
        self._row |= metrics

    def close(self) -> None:
        """Log the row."""
        row, self._row = self._row, {}
        if row:
            self._log(row, step=self._step)
