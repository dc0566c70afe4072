"""Loggers beside the run's own record, on whom no training depends: one that fails is told of once and left out."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger

from shoal.engines.job import Job
from shoal.errors import ConfigError, brief, warn
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


@dataclass
class _Failure:
    """Of loggers of a class: the last time that one of them failed."""

    at: float
    why: str
    told: str | None
    """The run or the sweep that has been told of it."""

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self.at


_down: dict[Any, _Failure] = {}


class Unmade(DummyLogger):
    """Stands for a logger that could not be made, since its server did not answer."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind


def made(kind: Any, make: Callable[[], Logger]) -> Logger:
    """What `make` makes of a class; where the server that its constructor asks does not answer, what stands for it."""
    _be_patient()
    if (last := _down.get(kind)) and last.seconds < AGAIN_SECONDS:
        return Unmade(kind)
    try:
        return make()
    except ConfigError as error:
        # An error of the system's that names no file is one of the network.
        if not isinstance(error.__cause__, OSError) or error.__cause__.filename is not None:
            raise
        _down[kind] = _Failure(time.monotonic(), brief(error.__cause__), None)
        return Unmade(kind)


def usable(job: Job, run: RunDir, info: RunInfo, now: Callable[[], int | None] = lambda: None) -> list[Logger]:
    """A job's loggers beside the event file, as far as they answer, the failures to come kept from the training.

    Each is told the run's name and directory, and by what it differs from others. `now` says at which step the
    training stands, where Lightning itself tells them of it.
    """
    _be_patient()
    found, whom = [], info.sweep or info.id
    for logger in job.loggers.values():
        if not isinstance(logger, TensorBoard) and not _is_down(logger, whom):
            # Named before it is asked: `experiment` begins the tracker's run, under the name that it has then.
            _name(logger, run, info)
            if _answers(logger, whom):
                found.append(_guarded(logger, whom, now))
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


def _be_patient() -> None:
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)


def _is_down(logger: Logger, whom: str) -> bool:
    """Whether loggers of its class failed of late; each run or sweep is told so once."""
    kind = logger.kind if isinstance(logger, Unmade) else type(logger)
    last = _down.get(kind)
    if last is None or (last.seconds >= AGAIN_SECONDS and not isinstance(logger, Unmade)):
        return False
    if last.told != whom:
        last.told = whom
        warn(f"{kind.__name__} is left out: {last.why}, {last.seconds:.0f} s ago")
    return True


def _answers(logger: Logger, whom: str) -> bool:
    guard = _Guard(type(logger), whom)
    # Their `experiment` is what asks the server.
    guard.around(lambda: getattr(logger, "experiment", None))()
    return not guard.failed


def _guarded(logger: Logger, whom: str, now: Callable[[], int | None]) -> Logger:
    """The logger, its failures kept from the training, and what is logged at one step given to it as one row."""
    guard = _Guard(type(logger), whom)
    for name in _CALLS:
        setattr(logger, name, guard.around(getattr(logger, name)))
    rows, finalize = _Rows(logger.log_metrics, now), logger.finalize

    def finalized(status: str) -> None:
        rows.close()
        finalize(status)

    vars(logger).update(log_metrics=rows.add, finalize=finalized)
    return logger


class _Guard:
    """Keeps failures from the training: the first is told of, and nothing is called after it."""

    def __init__(self, kind: type[Logger], whom: str) -> None:
        self.kind = kind
        self.whom = whom
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
                _down[self.kind] = _Failure(time.monotonic(), brief(error), self.whom)
                warn(f"{self.kind.__name__} is left out from here on: {brief(error)}")
                return None

        return guarded


class _Rows:
    """Gathers what is logged at one step."""

    def __init__(self, log: Callable[..., Any], now: Callable[[], int | None]) -> None:
        self._log = log
        self._now = now
        self._step: int | None = None
        self._row: dict[str, float] = {}

    def add(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of a step; another step, or another value of a metric, begins the next."""
        now = self._now()
        # Lightning counts an epoch's means, and a validation's, to the step before.
        step = now if now is not None and step == now - 1 else step
        # It adds the epoch to everything that it logs.
        if self._row and (step != self._step or self._row.keys() & metrics.keys() - {"epoch"}):
            self.close()
        self._step = step
        self._row |= metrics

    def close(self) -> None:
        """Log the row."""
        row, self._row = self._row, {}
        if row:
            self._log(row, step=self._step)
