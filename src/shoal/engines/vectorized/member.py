"""A run of a stack, and which settings of the Trainer a stack can follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from shoal.engines.job import Job
from shoal.engines.stack.own import OwnOptimizer
from shoal.engines.stack.rates import Rate, beyond_rate
from shoal.engines.vectorized.configured import own_optimizer
from shoal.schedulers import Horizon, Upstream

_EXPECTED: dict[str, tuple[Any, ...]] = {
    "accelerator": ("cpu", "auto"),
    "devices": (1, "1", "auto"),
    "strategy": ("auto",),
    "num_nodes": (1,),
    "precision": ("32-true", "64-true", 32, 64, None),
    "val_check_interval": (None, 1.0),
    "overfit_batches": (0, 0.0),
    "fast_dev_run": (False, 0, None),
    "detect_anomaly": (False,),
    "profiler": (None,),
    "log_every_n_steps": (None,),
    "max_time": (None,),
    "min_steps": (None, -1, 0),
    "plugins": (None, []),
}
"""Settings that a stack follows only with these values."""


@dataclass
class Member:
    """One run of a stack."""

    job: Job
    module: pl.LightningModule
    early_stopping: EarlyStopping | None = None
    monitor: str | None = None
    """Metric whose best state is kept; none where null."""
    mode: Literal["min", "max"] = "min"

    @classmethod
    def of(cls, job: Job, *, monitor: str | None = None, mode: Literal["min", "max"] = "min") -> Member:
        """The run that a job describes, its weights drawn."""
        module = job.module_to_stack()
        stopping = next((each for each in job.callbacks.values() if isinstance(each, EarlyStopping)), None)
        return cls(job, module, stopping, monitor, mode)

    def rate(self, horizon: Horizon) -> Rate | OwnOptimizer:
        """Its learning rate; the optimizer object where there is no rule for it, or more of it changes with time.

        Raises:
            UnfitError: where a stack cannot be stepped by that.
        """
        optimizer, scheduler = self.job.optimizer, self.job.scheduler
        if optimizer.stacked() is None or (isinstance(scheduler, Upstream) and beyond_rate(optimizer, scheduler)):
            return own_optimizer(self.job, self.module, horizon)
        return Rate(self.job.optimizer, self.job.scheduler, horizon)

    def limits(self) -> tuple[float | None, float | None]:
        """The largest norm and the largest value of its gradient."""
        limit = self.job.trainer.get("gradient_clip_val") or None
        by_value = self.job.trainer.get("gradient_clip_algorithm") == "value"
        return (None, limit) if by_value else (limit, None)


def unsupported(trainer: Mapping[str, Any]) -> str | None:
    """The first setting of the Trainer that a stack cannot follow, as it was given; or None."""
    for name, allowed in _EXPECTED.items():
        if name in trainer and not any(_same(trainer[name], each) for each in allowed):
            return f"trainer.{name}={trainer[name]}"
    return None


def _same(value: Any, other: Any) -> bool:
    """Whether two settings mean the same: a whole number is a count where a fraction is a share."""
    return type(value) is type(other) and bool(value == other)
