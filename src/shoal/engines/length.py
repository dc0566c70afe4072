"""How long a training is, from the limits that its Trainer is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from shoal.schedulers import Horizon


def n_of(limit: float | int | None, n: int) -> int:
    """How many of `n` batches a `limit_..._batches` leaves: a number of them, or a share."""
    if limit is None:
        return n
    # A share is rounded down, as Lightning does.
    return min(limit, n) if isinstance(limit, int) else int(limit * n)


def n_batches(trainer: Mapping[str, Any], n: int) -> int:
    """How many of the `n` batches there are an epoch of training has."""
    return n_of(trainer.get("overfit_batches") or trainer.get("limit_train_batches"), n)


def may_end(trainer: Mapping[str, Any], *, epochs: int, steps: int) -> bool:
    """Whether a training of this length may be stopped before its end, as far as `min_epochs` and `min_steps` say."""
    return epochs >= (trainer.get("min_epochs") or 0) and steps >= (trainer.get("min_steps") or 0)


def horizon(trainer: Mapping[str, Any], n: int | None) -> Horizon:
    """How long a run will train if nothing stops it, its epochs having `n` batches; None where only a loader knows."""
    accumulated = trainer.get("accumulate_grad_batches") or 1
    # The last batches of an epoch make a step too, however few they are.
    return Horizon.of(
        max_epochs=trainer.get("max_epochs"),
        max_steps=trainer.get("max_steps"),
        steps_per_epoch=n and math.ceil(n / accumulated),
    )
