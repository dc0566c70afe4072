"""How a training ends badly, and what run.json says of it."""

from __future__ import annotations

from shoal.errors import ShoalError
from shoal.rundir import Status
from shoal.signals import Interrupted


class Diverged(ShoalError):
    """A loss is no longer a finite number."""

    def __init__(self, metric: str, value: float, step: int, epoch: int, largest_norm: float | None) -> None:
        norm = (
            f"; the largest gradient norm measured before it was {largest_norm:.3g}" if largest_norm is not None else ""
        )
        super().__init__(
            f"{metric} is {value} at step {step} (epoch {epoch}): the run diverged{norm}",
            hint="lower optimizer.lr, or clip the gradient: trainer.gradient_clip_val=1.0",
        )
        self.metric = metric
        self.step = step


def status_of(error: BaseException) -> Status:
    """The status of a run that this error ended."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return Status.INTERRUPTED
    return Status.DIVERGED if isinstance(error, Diverged) else Status.FAILED
