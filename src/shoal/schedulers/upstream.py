"""Any other torch scheduler, named by its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from shoal.schedulers.scheduler import Horizon, Scheduler


@dataclass(frozen=True, kw_only=True)
class Upstream(Scheduler):
    """A torch scheduler class with its settings, stepped once an epoch."""

    cls: type[LRScheduler]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def alone(self, optimizer: torch.optim.Optimizer, horizon: Horizon) -> dict[str, Any]:
        return {"scheduler": self.cls(optimizer, **self.settings), "interval": "epoch"}
