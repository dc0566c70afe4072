"""Jobs small enough to train as a stack under a Trainer in a test, and a listener that keeps what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from pytorch_lightning.callbacks import EarlyStopping

from shoal.engines.job import Job
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.losses import MeanSquaredError
from shoal.models import MLP
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.tasks import Parabola

SETTINGS: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": 6,
    "precision": "64-true",
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "log_every_n_steps": None,
}


def job(seed: int, *, stop: EarlyStopping | None = None, **changes: Any) -> Job:
    trainer = {**SETTINGS, **{name: value for name, value in changes.items() if name not in Job.__dataclass_fields__}}
    described = {
        "task": Parabola(seed=seed, n_samples=60, batch_size=10, val_batch_size=7),
        "model": MLP(hidden=(8, 8)),
        "loss": MeanSquaredError(),
        "optimizer": Adam(lr=1e-2),
        "scheduler": Constant(),
        "loggers": {},
        "engine": "vectorized",
        "config": {},
    }
    chosen = {name: value for name, value in changes.items() if name in Job.__dataclass_fields__}
    callbacks = {"early_stopping": stop} if stop else {}
    return Job(**{**described, **chosen}, seed=seed, trainer=trainer, callbacks=callbacks)


class Stopped(Exception):
    """Ends a training within an epoch."""


class Kept:
    """Remembers what it was told; where asked to, the state after an epoch."""

    def __init__(self, save_after: int | None = None, stop_at: int = 10**9) -> None:
        """The first state is kept after `save_after` epochs; the training is stopped at the step `stop_at`."""
        self.rows: dict[int, list[RunEpoch]] = {}
        self.save_after = save_after
        self.steps_left = stop_at
        self.saved: dict[str, Any] = {}

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        for each in epochs:
            self.rows.setdefault(each.run, []).append(each)
        if running.epoch == self.save_after:
            self.saved = running.state_dict()

    def is_asked_to_stop(self) -> bool:
        self.steps_left -= 1
        return self.steps_left < 0

    def stopped(self, running: Running) -> NoReturn:
        self.saved = running.state_dict()
        raise Stopped

    def curve(self, run: int, metric: str) -> list[float]:
        return [row.metrics[metric] for row in self.rows[run]]
