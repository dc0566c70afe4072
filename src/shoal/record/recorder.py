"""Turns what a training logs into rows of metrics.csv and points of the event file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from shoal.errors import ShoalError
from shoal.names import EPOCH, GRAD_NORM, STEP
from shoal.record.callbacks import GradientNorm
from shoal.record.events import EventFile
from shoal.rundir import History
from shoal.rundir.atomic import sync


class Diverged(ShoalError):
    """A loss is no longer a finite number."""

    def __init__(self, metric: str, value: float, step: int, epoch: int, largest_norm: float | None) -> None:
        norm = (
            f"; the largest gradient norm measured before it was {largest_norm:.3g}" if largest_norm is not None else ""
        )
        super().__init__(
            f"{metric} is {value} at step {step} (epoch {epoch}): the run diverged{norm}",
            hint="lower optimizer.lr, or clip the gradient: trainer.gradient_clip_val=1.0",
        )
        self.metric = metric
        self.step = step


class Recorder(Logger):
    """The Lightning logger behind a run directory.

    All that is logged at one optimizer step is one row. A row is closed when the next one begins or a state is saved.
    """

    def __init__(self, history: History, events: EventFile | None) -> None:
        super().__init__()
        self.history = history
        self.events = events
        self.listeners: list[Callable[[Mapping[str, float]], None]] = []
        self._row: dict[str, float] = {}
        self._began = events.length if events else 0
        self._trainer: pl.Trainer | None = None

    @property
    def name(self) -> str:
        return "shoal"

    @property
    def version(self) -> str:
        return self.history.path.parent.name

    def attach(self, trainer: pl.Trainer) -> None:
        """The Trainer whose steps are counted."""
        self._trainer = trainer

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is recorded as it is."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of the present step.

        Raises:
            Diverged: where a loss is not finite.
        """
        assert self._trainer is not None
        now = self._trainer.global_step
        if self._row and self._row[STEP] != now:
            self.close_row()
        if not self._row:
            self._row = {STEP: now, EPOCH: self._trainer.current_epoch}
        self._row |= {name: value for name, value in metrics.items() if name not in (STEP, EPOCH)}
        self._check(metrics)

    def close_row(self) -> None:
        """Put the row being filled, if there is one, into the history and the event file."""
        if not self._row:
            return
        row, self._row = self._row, {}
        self.history.add(row)
        if self.events:
            values = {name: value for name, value in row.items() if name not in (STEP, EPOCH)}
            self.events.scalars(values, step=int(row[STEP]))
        for listener in self.listeners:
            listener(row)

    def flush(self) -> dict[str, Any]:
        """Close the row and bring the files up to date; what they hold now, for a resume to cut them back to."""
        self.close_row()
        self.history.flush()
        return {
            "rows": len(self.history.rows),
            "digest": self.history.digest(),
            "events": self.events.flush() if self.events else 0,
        }

    def beginning(self) -> dict[str, Any]:
        """What `flush` would have said before the first row of a training."""
        return {"rows": 0, "digest": self.history.digest_at(0), "events": self._began}

    def sync(self) -> None:
        """Make what was flushed survive a crash of the machine, as a checkpoint that counts on it does."""
        for file in (self.history.path, self.events.path if self.events else None):
            if file is not None and file.exists():
                sync(file)

    def final(self) -> dict[str, float]:
        """The last value of each metric."""
        return self.history.final()

    def _check(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if "loss" in name and not math.isfinite(value):
                step, epoch = int(self._row[STEP]), int(self._row[EPOCH])
                raise Diverged(name, value, step, epoch, self.largest_norm())

    def largest_norm(self) -> float | None:
        """The largest gradient norm that was measured, where it was a number."""
        assert self._trainer is not None
        found = [row[GRAD_NORM] for row in [*self.history.rows, self._row] if GRAD_NORM in row]
        callbacks = self._trainer.callbacks  # type: ignore[attr-defined]
        found += [each.largest for each in callbacks if isinstance(each, GradientNorm)]
        return max((norm for norm in found if math.isfinite(norm) and norm > 0), default=None)
