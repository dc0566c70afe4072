"""The losses that configurations name: mse, mae, huber, cross_entropy and auto."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Interval
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional

from shoal.errors import ConfigError

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""What a loss may be: called with predictions and targets, gives one number; shoal's own are `Loss`es."""


ClassWeights = Literal["balanced"] | tuple[Annotated[float, Ge(0)], ...] | None


class SquaredLoss(NamedTuple):
    """A loss as a sum of squares, elementwise.

    `slope * residual` is half of its derivative by the prediction, `slope**2` stands for half of the second one.
    """

    cost: Tensor
    residual: Tensor
    slope: Tensor


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """The mean over a batch of how far predictions are from targets."""

    called: ClassVar[str] = ""
    """The name by which runs that minimized it are known; each class has its own."""

    @abstractmethod
    def __call__(self, prediction: Float[Tensor, "batch outputs"], target: Num[Tensor, "batch *outputs"]) -> Tensor:
        """One number to minimise."""

    def each(self, prediction: Tensor, target: Tensor) -> Float[Tensor, " batch"]:
        """The loss of each sample; only a loss that has this can be weighted."""
        raise NotImplementedError

    def weighted(self, prediction: Tensor, target: Tensor, weight: Float[Tensor, "batch *outputs"]) -> Tensor:
        """One number to minimise where samples do not count alike: the weights are 1 in the mean of all samples."""
        if weight.dim() == 1:
            return (self.each(prediction, target) * weight).mean()
        # A weight for each target and sample: `each` gives the mean over targets, so each column is a loss of its own.
        columns = zip(*(torch.split(each, 1, dim=1) for each in (prediction, target)), weight.unbind(1), strict=True)
        return torch.stack([(self.each(*pair) * of_target).mean() for *pair, of_target in columns]).mean()

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        """What a solver of least squares makes of it; only a loss that has this can be minimised by one."""
        raise NotImplementedError

    @property
    def weighs_classes(self) -> bool:
        """Whether classes do not count alike."""
        return False

    # Weights come as weights of samples, not as torch's `weight`: that one divides by the sum of the weights in a
    # batch, and the loss of a sample would depend on the others beside it.
    def of_classes(self, counts: Int[Tensor, " classes"]) -> Float[Tensor, " classes"]:
        """How much each class counts, given how many samples it has in training.

        Raises:
            ConfigError: where there is not one weight for each.
        """
        return torch.ones(len(counts))

    def in_units(self, unit: Callable[[], float]) -> LossFunction:
        """The loss for predictions and targets in multiples of `unit`, which is asked for only where it matters."""
        del unit
        return self


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError(Loss):
    """Mean of the squared differences."""

    called: ClassVar[str] = "mse"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(prediction, target)

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return _of_samples(functional.mse_loss(prediction, target, reduction="none"))

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        error = prediction - target
        return SquaredLoss(error * error, error, torch.ones_like(error))


@dataclass(frozen=True, kw_only=True)
class MeanAbsoluteError(Loss):
    """Mean of the absolute differences."""

    called: ClassVar[str] = "mae"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.l1_loss(prediction, target)

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return _of_samples(functional.l1_loss(prediction, target, reduction="none"))


@dataclass(frozen=True, kw_only=True)
class Huber(Loss):
    """Quadratic for differences up to `delta`, linear beyond (Huber, 1964)."""

    called: ClassVar[str] = "huber"

    delta: Annotated[float, Gt(0)] | None = None
    """Where the loss turns linear, in units of the target; where null at 1, for a table at one standard deviation of
    its target."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.huber_loss(prediction, target, delta=self._delta)

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return _of_samples(functional.huber_loss(prediction, target, reduction="none", delta=self._delta))

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        error = prediction - target
        far = error.abs().clamp_min(self._delta)
        near = error.abs().clamp_max(self._delta)
        # Twice torch's loss, whose small errors count half their squares; its least value is in the same place.
        return _reweighted(near * (2 * error.abs() - near), error, self._delta / far)

    def in_units(self, unit: Callable[[], float]) -> LossFunction:
        scale = 1.0 if self.delta is None else unit()
        return self if scale == 1 else HuberOf(self._delta / scale)

    @property
    def _delta(self) -> float:
        return 1.0 if self.delta is None else self.delta


@dataclass(frozen=True, kw_only=True)
class Robust(Loss):
    """A loss that is made of its `squares`."""

    delta: Annotated[float, Gt(0)] = 1.0
    """From where on a difference is large, in units of the target."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.each(prediction, target).mean()

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return _of_samples(self.squares(prediction, target).cost)


@dataclass(frozen=True, kw_only=True)
class SoftL1(Robust):
    """The square of small differences, twice `delta` times the size of large ones, and a smooth curve between."""

    called: ClassVar[str] = "soft_l1"

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        error = prediction - target
        root = ((error / self.delta).square() + 1).sqrt()
        # 2 delta^2 (root - 1), in which small errors would cancel.
        return _reweighted(2 * error.square() / (root + 1), error, 1 / root)


@dataclass(frozen=True, kw_only=True)
class Cauchy(Robust):
    """The square of small differences, the logarithm of large ones: outliers hardly count."""

    called: ClassVar[str] = "cauchy"

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        error = prediction - target
        ratio = (error / self.delta).square()
        # `log1p`: of small errors `log(1 + ratio)` would lose all digits.
        return _reweighted(self.delta**2 * torch.log1p(ratio), error, 1 / (1 + ratio))


class HuberOf(nn.Module):
    """Huber's loss with its `delta` in a buffer: runs of a stack may have another one each."""

    delta: Tensor

    def __init__(self, delta: float) -> None:
        super().__init__()
        self.register_buffer("delta", torch.tensor(delta), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number to minimise."""
        return self.each(prediction, target).mean()

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each sample."""
        error = (prediction - target).abs()
        # Not torch's `huber_loss`, whose `delta` is a number: in a stack it is a tensor.
        near = error.minimum(self.delta)
        return _of_samples(near * (error - near / 2))

    def weighted(self, prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """One number to minimise where samples do not count alike."""
        return (self.each(prediction, target) * weight).mean()


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy of class indices under the softmax of the predictions, which are logits."""

    called: ClassVar[str] = "cross_entropy"

    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the target's probability spread over all classes."""
    weight: ClassWeights = None
    """How much each class counts: a list with a number for each, in the order of their names, or `balanced`, where all
    count as much together; null for all samples alike."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(prediction, target, label_smoothing=self.label_smoothing)

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(prediction, target, label_smoothing=self.label_smoothing, reduction="none")

    @property
    def weighs_classes(self) -> bool:
        return self.weight is not None

    def of_classes(self, counts: Tensor) -> Tensor:
        return _of_classes(self.weight, counts)


@dataclass(frozen=True, kw_only=True)
class Auto(Loss):
    """Cross-entropy where the targets are class indices, else the mean squared error."""

    weight: ClassWeights = None
    """How much each class counts, as for `cross_entropy`."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._of(target)(prediction, target)

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._of(target).each(prediction, target)

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        return self._of(target).squares(prediction, target)

    @property
    def weighs_classes(self) -> bool:
        return self.weight is not None

    def of_classes(self, counts: Tensor) -> Tensor:
        return _of_classes(self.weight, counts)

    def _of(self, target: Tensor) -> Loss:
        return MeanSquaredError() if target.is_floating_point() else CrossEntropy()


@dataclass(frozen=True, kw_only=True)
class Own(Loss):
    """None to choose: `training_step` of the LightningModule in `task.module` computes it."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        raise ConfigError("loss", "own", "is for a task with a LightningModule of its own", hint="for example loss=mse")


def _reweighted(cost: Tensor, error: Tensor, weight: Tensor) -> SquaredLoss:
    """A loss of least squares with weights that depend on the errors, as iterated reweighting has it."""
    root = weight.sqrt()
    return SquaredLoss(cost, error * root, root)


def _of_samples(losses: Tensor) -> Float[Tensor, " batch"]:
    return losses.flatten(1).mean(1)


def _of_classes(weight: ClassWeights, counts: Tensor) -> Tensor:
    """The weights as a tensor; `balanced` is n / (classes * samples of the class), as scikit-learn has it."""
    if weight is None:
        return torch.ones(len(counts))
    if weight == "balanced":
        # A class that training has no sample of would count infinitely in validation.
        return counts.sum() / (len(counts) * counts.clamp_min(1))
    if len(weight) != len(counts) or not any(weight):
        n = len(counts)
        hint = f"for example loss.weight=[{','.join(['1'] * n)}], or balanced"
        raise ConfigError(
            "weight", weight, f"must be a number for each of the {n} classes, not all of them 0", hint=hint
        )
    return torch.tensor(weight)
