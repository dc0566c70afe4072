"""The losses that configurations name: mse, mae, huber, cross_entropy and auto."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Interval
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from shoal.errors import ConfigError

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""What a loss may be: called with predictions and targets, gives one number; shoal's own are `Loss`es."""


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """The mean over a batch of how far predictions are from targets."""

    @abstractmethod
    def __call__(self, prediction: Float[Tensor, "batch outputs"], target: Num[Tensor, "batch *outputs"]) -> Tensor:
        """One number to minimise."""


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError(Loss):
    """Mean of the squared differences."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(prediction, target)


@dataclass(frozen=True, kw_only=True)
class MeanAbsoluteError(Loss):
    """Mean of the absolute differences."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.l1_loss(prediction, target)


@dataclass(frozen=True, kw_only=True)
class Huber(Loss):
    """Quadratic for differences up to `delta`, linear beyond (Huber, 1964)."""

    delta: Annotated[float, Gt(0)] = 1.0
    """Where the loss turns linear, in units of the target."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.huber_loss(prediction, target, delta=self.delta)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy of class indices under the softmax of the predictions, which are logits."""

    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the target's probability spread over all classes."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(prediction, target, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class Auto(Loss):
    """Cross-entropy where the targets are class indices, else the mean squared error."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        loss = MeanSquaredError() if target.is_floating_point() else CrossEntropy()
        return loss(prediction, target)


@dataclass(frozen=True, kw_only=True)
class Own(Loss):
    """None to choose: `training_step` of the LightningModule in `task.module` computes it."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        raise ConfigError("loss", "own", "is for a task with a LightningModule of its own", hint="for example loss=mse")
