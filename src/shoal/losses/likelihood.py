"""Losses of counts and of shares: deviances, whose least value is the greatest likelihood."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.losses.named import Loss, SquaredLoss


@dataclass(frozen=True, kw_only=True)
class Likelihood(Loss):
    """Twice the logarithm of how much more likely the targets could be than the predictions make them."""

    targets: ClassVar[tuple[float, float]]
    """Between which all of them are."""
    counted: ClassVar[str]
    """What `counts` counts, as a user knows it."""
    instead: ClassVar[str]
    """What to do about targets that are none of these."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.each(prediction, target).mean()

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.squares(prediction, target).cost.flatten(1).mean(1)

    @abstractmethod
    def at_best(self, target: Float[Tensor, " samples"], weight: Float[Tensor, " samples"]) -> Tensor:
        """Minus twice the logarithm of the likelihood of targets that are predicted exactly, one by one."""

    @abstractmethod
    def drawn(
        self, mean: Float[Tensor, "*_ samples"], weight: Float[Tensor, "*_ samples"], generator: torch.Generator
    ) -> Tensor:
        """Targets of these means, drawn at random, as the weights make them scatter."""

    @abstractmethod
    def counts(self, target: Float[Tensor, " samples"], weight: Float[Tensor, " samples"]) -> Tensor:
        """What is counted, one by one: whole numbers, if the targets are what this is the likelihood of."""


@dataclass(frozen=True, kw_only=True)
class Poisson(Likelihood):
    """Of counts, whose mean the prediction is; it must be above 0 (McCullagh & Nelder, 1989, 6.2)."""

    called: ClassVar[str] = "poisson"
    targets: ClassVar[tuple[float, float]] = (0.0, torch.inf)
    counted: ClassVar[str] = "targets"
    instead: ClassVar[str] = "loss=mse for numbers of any kind"

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        cost = 2 * (torch.xlogy(target, target) - torch.xlogy(target, prediction) + prediction - target)
        # The square is the Fisher information 1/p: Gauss-Newton's steps are then those of iterated reweighting.
        root = prediction.rsqrt()
        # `xlogy(0, p)` is 0 whatever p is: the root makes the cost nan where a prediction is out of range.
        return SquaredLoss(cost + 0 * root, (prediction - target) * root, root)

    def at_best(self, target: Tensor, weight: Tensor) -> Tensor:
        # Of Poisson's probability exp(-t) t**t / t!.
        return 2 * weight * (target - torch.xlogy(target, target) + torch.lgamma(target + 1))

    def drawn(self, mean: Tensor, weight: Tensor, generator: torch.Generator) -> Tensor:
        # A weight is a number of counts, of which the target is the mean; their sum is a count again.
        several = torch.where(weight > 0, weight, 1.0)
        return torch.poisson(mean * several, generator=generator) / several

    def counts(self, target: Tensor, weight: Tensor) -> Tensor:
        return target


@dataclass(frozen=True, kw_only=True)
class Binomial(Likelihood):
    """Of shares of successes, whose probability the prediction is; `task.weight` names the number of trials."""

    called: ClassVar[str] = "binomial"
    targets: ClassVar[tuple[float, float]] = (0.0, 1.0)
    counted: ClassVar[str] = "shares times task.weight"
    instead: ClassVar[str] = "of numbers of successes the shares, and task.weight=COLUMN with the numbers of trials"

    def squares(self, prediction: Tensor, target: Tensor) -> SquaredLoss:
        failures, others = 1 - target, 1 - prediction
        known = torch.xlogy(target, target) + torch.xlogy(failures, failures)
        cost = 2 * (known - torch.xlogy(target, prediction) - torch.xlogy(failures, others))
        root = (prediction * others).rsqrt()
        return SquaredLoss(cost + 0 * root, (prediction - target) * root, root)

    def at_best(self, target: Tensor, weight: Tensor) -> Tensor:
        # Targets are shares: their weights, the numbers of trials, make counts of them again.
        hits, misses = weight * target, weight * (1 - target)
        # The binomial coefficient: in how many ways so many of `weight` trials succeed.
        ways = torch.lgamma(weight + 1) - torch.lgamma(hits + 1) - torch.lgamma(misses + 1)
        return -2 * (ways + weight * (torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target)))

    def drawn(self, mean: Tensor, weight: Tensor, generator: torch.Generator) -> Tensor:
        # Whole but for rounding, as a root that was squared.
        trials = weight.round().clamp_min(1.0).expand(mean.shape)
        return torch.binomial(trials, mean, generator=generator) / trials

    def counts(self, target: Tensor, weight: Tensor) -> Tensor:
        return weight * target
