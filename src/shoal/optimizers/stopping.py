"""Why an optimizer has come to an end, where it says so itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from shoal.optimizers.squares.levenberg import COST, GRADIENT, RUNNING, STEP, STUCK

__all__ = ["COST", "GRADIENT", "RUNNING", "STEP", "Stopping", "why", "why_stopped"]
WHY = {
    GRADIENT: "gradient: no parameter makes the loss smaller",
    STEP: "step: the parameters change no more",
    COST: "cost: no more can be gained",
    STUCK: "no step, however short, makes the cost smaller",
}
"""In words that begin with the tolerance."""


class Stopping(torch.optim.Optimizer):
    """An optimizer that stops; its state says why."""

    @property
    def stopped(self) -> str | None:
        """Why it has stopped, once it has."""
        return why_stopped(self.state.values())


def why_stopped(states: Iterable[Mapping[str, Any]]) -> str | None:
    """Why a training has stopped, from what its optimizer keeps of each parameter; None where it says nothing."""
    # Of one parameter: the reason is the same at each of a run.
    codes = [float(each["stopped"].reshape(-1)[0]) for each in states if "stopped" in each]
    return why(codes[0]) if codes else None


def why(code: float) -> str | None:
    """The reason that a code of `levenberg` stands for; None while it runs."""
    return None if int(code) == RUNNING else WHY[int(code)]
