"""An optimizer with its scheduler, as `configure_optimizers` gives them."""

from __future__ import annotations

from typing import Any

import torch

from shoal.errors import ConfigError
from shoal.names import LR
from shoal.schedulers.closed_form import Constant
from shoal.schedulers.scheduler import Horizon, Scheduler


def scheduled(optimizer: torch.optim.Optimizer, scheduler: Scheduler, horizon: Horizon) -> dict[str, Any]:
    """Both for Lightning; some optimizers find the size of their steps by themselves, and have nothing to schedule.

    Raises:
        ConfigError: where the scheduler would change a learning rate that there is not.
    """
    if LR in optimizer.param_groups[0]:
        return {"optimizer": optimizer, "lr_scheduler": scheduler.alone(optimizer, horizon)}
    if not isinstance(scheduler, Constant):
        problem = f"changes the learning rate, which {type(optimizer).__name__} does not have"
        raise ConfigError("scheduler", type(scheduler).__name__, problem, hint="scheduler=constant")
    return {"optimizer": optimizer}
