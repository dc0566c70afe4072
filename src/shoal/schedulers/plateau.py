"""The scheduler that waits for a metric to stop improving."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch.optim.lr_scheduler import ReduceLROnPlateau

from shoal.judging import AUTO, Mode, way_of
from shoal.schedulers.scheduler import Horizon, Scheduler, named


@dataclass(frozen=True, kw_only=True)
class Plateau(Scheduler):
    """Multiplied by `factor` when `monitor` has not improved for more than `patience` epochs."""

    monitor: str = AUTO
    """Metric that is watched; auto: the one that the run is judged by."""
    mode: Mode = "auto"
    """Whether lower or higher is better; auto: as the name of the metric says."""
    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Factor of each change."""
    patience: Annotated[int, Ge(0)] = 10
    """Epochs without improvement that are let pass."""
    threshold: Annotated[float, Ge(0)] = 1e-4
    """Smallest relative change that counts as an improvement."""
    cooldown: Annotated[int, Ge(0)] = 0
    """Epochs after a change in which nothing is counted."""
    min_lr: Annotated[float, Ge(0)] = 0.0
    """Learning rate below which it does not go."""

    def watching(self, monitor: str) -> Plateau:
        """This scheduler, watching that metric."""
        return replace(self, monitor=monitor)

    def alone(self, optimizer: torch.optim.Optimizer, horizon: Horizon) -> dict[str, Any]:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # as torch's other schedulers do: a resume asks what the first one was
        schedule = ReduceLROnPlateau(
            optimizer,
            mode=way_of(self.mode, named(self.monitor)),
            factor=self.factor,
            patience=self.patience,
            threshold=self.threshold,
            cooldown=self.cooldown,
            min_lr=self.min_lr,
        )
        return {"scheduler": schedule, "interval": "epoch", "monitor": named(self.monitor)}
