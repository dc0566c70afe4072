"""Turns what a training logs into rows of metrics.csv and points of the event file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.loggers.logger import _DummyExperiment
from pytorch_lightning.loggers import Logger

from shoal.errors import warn
from shoal.judging import is_loss
from shoal.names import EPOCH, GRAD_NORM, STEP
from shoal.record.callbacks import GradientNorm
from shoal.record.endings import Diverged
from shoal.record.run_record import RunRecord


class Recorder(Logger):
    """The Lightning logger behind a run directory.

    All that is logged at one optimizer step of an epoch is one row. A row is closed when the next one begins or a state
    is saved.
    """

    def __init__(self, record: RunRecord) -> None:
        super().__init__()
        self.record = record
        self.listeners: list[Callable[[Mapping[str, float]], None]] = []
        self._row: dict[str, float] = {}
        self._trainer: pl.Trainer | None = None

    @property
    def name(self) -> str:
        return "shoal"

    @property
    def version(self) -> str:
        return self.record.run.path.name

    @property
    def save_dir(self) -> str:
        """The run directory, which is `trainer.log_dir` too."""
        return str(self.record.run.path)

    @property
    def log_dir(self) -> str:
        """The same, by the name that TensorBoard's logger has for it."""
        return self.save_dir

    @property
    def experiment(self) -> Any:
        """A `SummaryWriter` of torch's for pictures, texts, histograms and curves: into the run's event file.

        Lightning asks for it in every training, so it is made when something of it is wanted.
        """
        return _Awaiting(self)

    @cached_property
    def writer(self) -> Any:
        """The `SummaryWriter` that `experiment` gives."""
        return experiment_of(self.record)

    def attach(self, trainer: pl.Trainer) -> None:
        """The Trainer whose steps are counted."""
        self._trainer = trainer

    def step(self) -> int | None:
        """The step that the training stands at, once there is a Trainer."""
        return None if self._trainer is None else self._trainer.global_step

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is recorded as it is."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of the present step.

        Raises:
            Diverged: where a loss is not finite.
        """
        assert self._trainer is not None
        # Not the `step` given: Lightning counts batches there, or takes a metric of that name for it.
        now = {STEP: self._trainer.global_step, EPOCH: self._trainer.current_epoch}
        # What the next epoch begins with would else be in this one's row, unless a state was saved between them.
        if self._row and now.items() - self._row.items():
            self.close_row()
        self._row = self._row or {**now}
        self._row |= {name: value for name, value in metrics.items() if name not in (STEP, EPOCH)}
        # After it is in the row: the history has the value by which the run diverged.
        self._check(metrics)

    def close_row(self) -> None:
        """Put the row being filled, if there is one, into the history and the event file."""
        if not self._row:
            return
        row, self._row = self._row, {}
        self.record.add(row)
        for listener in self.listeners:
            listener(row)

    def flush(self) -> dict[str, Any]:
        """Close the row and bring the files up to date; what they hold now, for a resume to cut them back to."""
        self.close_row()
        return self.record.flush()

    def beginning(self) -> dict[str, Any]:
        """What `flush` would have said before the first row of a training."""
        return {"rows": 0, "digest": self.record.history.digest_at(0), "events": self.record.began}

    def _check(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            # Of losses alone: a ratio or a correlation may be nan for an epoch, and the training is sound all the same.
            if is_loss(name) and not math.isfinite(value):
                step, epoch = int(self._row[STEP]), int(self._row[EPOCH])
                raise Diverged(name, value, step, epoch, self.largest_norm())

    def largest_norm(self) -> float | None:
        """The largest gradient norm that was measured, where it was a number."""
        assert self._trainer is not None
        # The history has those from before a resume, the callback those of steps that no row tells of.
        found = [row[GRAD_NORM] for row in [*self.record.history.rows, self._row] if GRAD_NORM in row]
        callbacks = self._trainer.callbacks  # type: ignore[attr-defined]
        found += [each.largest for each in callbacks if isinstance(each, GradientNorm)]
        return max((norm for norm in found if math.isfinite(norm) and norm > 0), default=None)


def experiment_of(record: RunRecord) -> Any:
    """A `SummaryWriter` into the event file of a record; one that writes nothing where there is none."""
    if record.events is None:
        warn("self.logger.experiment writes nothing: there is no event file without logger=tensorboard")
        return _DummyExperiment()
    from shoal.record.loggers.summary_writer import Experiment  # late: few runs need it

    return Experiment(record.events, record.run.path)


class _Awaiting:
    """The writer of a recorder, once somebody asks for a part of it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder.writer, name)
