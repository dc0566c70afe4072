"""What a run of a stack measured in an epoch, and whether it ended with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Ending = Literal["completed", "stopped", "halved", "diverged"]


@dataclass(frozen=True)
class RunEpoch:
    """An epoch of one run."""

    run: int
    """Place of the run in the stack's members."""
    epoch: int
    """Epochs done before this one."""
    step: int
    """Optimizer steps done."""
    metrics: Mapping[str, float]
    best: bool
    """Whether the monitored metric is the best so far."""
    ended: Ending | None
    """How the run ended with this epoch, if it did."""
    reason: str | None = None
    """Why it was stopped, lost its place or diverged."""
    cut_short: bool = False
    """Whether `max_steps` ended the epoch."""
    norm: float | None = None
    """If the run diverged: the largest norm of its gradient in the epoch's earlier steps."""
    monitor: str | None = None
    """The metric whose best state is kept, once that is known."""
