"""Any other torch scheduler, named by its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from shoal.judging import AUTO, way_of
from shoal.schedulers.scheduler import Horizon, Scheduler, named


@dataclass(frozen=True, kw_only=True)
class TorchScheduler(Scheduler):
    """A torch scheduler class with its settings, stepped once an epoch; others of its kind may be among them."""

    cls: type[LRScheduler]
    settings: Mapping[str, Any] = field(default_factory=dict)
    monitor: str | None = None
    """Metric that is watched, by a scheduler that watches one."""

    def watching(self, monitor: str) -> TorchScheduler:
        """This scheduler, watching that metric, in the direction that its settings say, else its name."""
        mode = self.settings.get("mode", AUTO)
        return replace(self, settings={**self.settings, "mode": way_of(mode, monitor)}, monitor=monitor)

    def alone(self, optimizer: torch.optim.Optimizer, horizon: Horizon) -> dict[str, Any]:
        return {"scheduler": self._made(optimizer), "interval": "epoch"} | (
            {"monitor": named(self.monitor)} if self.monitor else {}
        )

    def _made(self, optimizer: torch.optim.Optimizer) -> Any:
        # Late, and not as the configuration is built: torch's schedulers need the optimizer that they change.
        settings = {name: _within(value, optimizer) for name, value in self.settings.items()}
        return self.cls(optimizer=optimizer, **settings)


def _within(value: Any, optimizer: torch.optim.Optimizer) -> Any:
    """A setting; the schedulers in it made for the optimizer."""
    if isinstance(value, TorchScheduler):
        return value._made(optimizer)
    return [_within(each, optimizer) for each in value] if isinstance(value, list) else value
