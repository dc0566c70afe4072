"""Runs of a module with hooks, trained alone by Lightning and as a stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from driven import Kept
from driven import job as described
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.optimizers import SGD
from shoal.tasks import LightningTask, Parabola


class Rows(Logger):
    """Keeps what is logged, by epoch."""

    name = version = "rows"

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {name: float(value) for name, value in metrics.items()}
        self.rows.setdefault(int(row.pop("epoch", max(self.rows, default=0))), {}).update(row)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """None."""


def job(module: type[pl.LightningModule], seed: int, *callbacks: pl.Callback, n: int = 40, **changes: Any) -> Job:
    samples = Parabola(seed=seed, n_samples=n, batch_size=10, val_batch_size=7)
    task = LightningTask(seed=seed, module=module, samples=samples)
    made = described(seed, task=task, **{"optimizer": SGD(lr=0.05), "max_epochs": 4, **changes})
    made.callbacks.update({str(number): each for number, each in enumerate(callbacks)})
    return made


def alone(made: Job) -> dict[int, dict[str, float]]:
    rows = Rows()
    module = made.module()
    lightning.fit(made, module, callbacks=list(made.callbacks.values()), loggers=[rows])
    return rows.rows


def trained(running: Running, kept: Kept) -> None:
    with lightning.expected_warnings():
        driver.fit(running, kept)


def stacked(*jobs: Job) -> Kept:
    running, kept = Running([Member.of(each) for each in jobs]), Kept()
    assert unlike_alone(running) == {}
    trained(running, kept)
    return kept
