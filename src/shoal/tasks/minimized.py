"""Tasks without samples: find the x at which a known function takes a target value, or is smallest.

The model is a single number; its "sample" is empty and its target is the value that the function should take. So the
squared error of one training step is the objective, and one epoch is one step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shoal.tasks.data import Data, Split
from shoal.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Objective(Task):
    """Move x until `observe(x)` is `target`."""

    target: float
    """Value that the function should take."""
    start: float = 0.0
    """x before the first step."""

    @property
    def inputs(self) -> int:
        return 0

    @property
    def outputs(self) -> int:
        return 1

    @abstractmethod
    def observe(self, prediction: Tensor) -> Tensor:
        """The function at x."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ()

    def metrics(self, outputs: Tensor, target: Tensor) -> Mapping[str, float]:
        """None: the loss says how far the value is from the target."""
        del outputs, target
        return {}

    def recorded(self, model: nn.Module) -> Mapping[str, Tensor]:
        """The x reached."""
        return {"x": model(torch.zeros(1, 0))[0, 0]}

    def data(self) -> Data:
        # One sample without inputs; the same for validation, so that what monitors it has something to see.
        samples = Split(torch.zeros(1, 0), torch.full((1, 1), self.target))
        return Data(samples, samples, features=(), targets=("x",))


@dataclass(frozen=True, kw_only=True)
class SolveSinX2(Objective):
    """Find x with sin(x) x^2 = target."""

    target: float = 1.0
    """Value that sin(x) x^2 should take."""
    start: float = 2.5
    """x before the first step."""

    def observe(self, prediction: Tensor) -> Tensor:
        return torch.sin(prediction) * prediction**2


@dataclass(frozen=True, kw_only=True)
class MinimizeQuadratic(Objective):
    """Minimise (x - target)^2."""

    target: float = 5.0
    """Where the minimum lies."""

    @property
    def solution(self) -> float:
        return self.target

    def observe(self, prediction: Tensor) -> Tensor:
        return prediction
