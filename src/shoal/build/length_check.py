"""Whether the limits of a Trainer leave something to train and to validate on, counted before anything trains."""

from __future__ import annotations

import math

from shoal.engines.job import Job
from shoal.engines.length import horizon, n_batches
from shoal.errors import ConfigError
from shoal.schedulers import Horizon
from shoal.tasks import LightningTask

SHARES = {
    "limit_train_batches": ("training",),
    "limit_val_batches": ("validation",),
    "overfit_batches": ("training", "validation"),
}
"""Limits that may be a share of an epoch's batches, and of which."""


def whole_length(job: Job) -> Horizon:
    """How long a training is if nothing stops it, as far as that can be told without data loaders."""
    # Data loaders of the user's own are asked only where a setting needs it: making them may take minutes.
    n = n_batches(job.trainer, len(job.batches()[0])) if job.in_memory else None
    return horizon(job.trainer, n)


def check_length(job: Job) -> None:
    """Refuse limits that leave no batch, and validations that never come.

    Raises:
        ConfigError: for the first of them.
    """
    _check_shares(job)
    _check_within(job)
    every = job.trainer.get("check_val_every_n_epoch") or 1
    n_epochs = whole_length(job).epochs if every > 1 and job.validates else None
    if n_epochs and n_epochs < every:
        problem = f"validates nothing: the run has {n_epochs} epochs"
        hint = "at most that; or no validation: trainer.limit_val_batches=0"
        raise ConfigError("trainer.check_val_every_n_epoch", every, problem, hint=hint)


def _check_shares(job: Job) -> None:
    """Refuse a share of the batches that is less than one of them."""
    shares = {name: job.trainer.get(name) for name in SHARES}
    asked = {name: share for name, share in shares.items() if isinstance(share, float) and 0 < share < 1}
    counts = _counted(job) if asked else {}
    for name, share in asked.items():
        for kind in SHARES[name]:
            n = counts[kind]
            # As Lightning rounds.
            if n and int(share * n) == 0:
                # Up, to three digits: what is rounded down would leave none again.
                least = math.ceil(1000 / n) / 1000
                problem = f"leaves none of the {n} {kind} batches of an epoch"
                hint = f"at least {least}, or how many batches: trainer.{name}=1"
                raise ConfigError(f"trainer.{name}", share, problem, hint=hint)


def _check_within(job: Job) -> None:
    """Refuse a validation in the middle of an epoch that is shorter than that."""
    every = job.trainer.get("val_check_interval")
    if not isinstance(every, int | float) or every <= 1.0 or job.trainer.get("check_val_every_n_epoch") is None:
        return
    n = n_batches(job.trainer, len(job.batches()[0])) if job.in_memory else every
    if every > n:
        problem = f"is more than the {n} batches of an epoch"
        raise ConfigError("trainer.val_check_interval", every, problem, hint="null validates after each epoch")


def _counted(job: Job) -> dict[str, int | None]:
    """How many batches there are for training and for validation; None where only the data loaders could tell."""
    if isinstance(job.task, LightningTask) and not job.in_memory:
        return dict(zip(("training", "validation"), job.task.n_batches(), strict=True))
    train, val = job.batches()
    return {"training": len(train), "validation": len(val) if val else None}
