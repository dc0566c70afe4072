"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, final

import torch
from annotated_types import Gt, Interval
from torch import nn

from shoal.optimizers.optimizer import Decay, Optimizer, Rate
from shoal.optimizers.rule import Column, Matrix, Rule, Some, State, corrections, decayed, root


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015); weight decay is added to the gradient."""

    decoupled: ClassVar[bool] = False
    """Whether weight decay acts on the weights instead."""

    lr: Rate = 1e-3
    """Step size."""
    beta1: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    """Decay of the gradient's running mean."""
    beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    """Decay of the squared gradient's running mean."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """Added to the denominator."""
    weight_decay: Decay = 0.0
    """L2 penalty on the weights."""

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        rule = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        return rule(
            params,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )

    def stacked(self) -> Rule[Any]:
        return StackedAdam(decoupled=self.decoupled)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    decoupled: ClassVar[bool] = True

    weight_decay: Decay = 1e-2
    """Share of the weights removed at each step, times the learning rate."""


class _Settings(NamedTuple):
    beta1: list[float]
    beta2: list[float]
    fresh1: Column
    """Share of the new gradient in the running mean."""
    fresh2: Column
    """Share of the new squared gradient in the running mean."""
    eps: Column
    weight_decay: Some
    decay: Column
    """The weight decay in float64."""


@final
class StackedAdam(Rule[_Settings]):
    """Adam over a stack; weight decay acts on the gradient, or `decoupled` on the weights."""

    settings = ("beta1", "beta2", "eps", "weight_decay")
    state = ("exp_avg", "exp_avg_sq")

    def __init__(self, *, decoupled: bool) -> None:
        self.decoupled = decoupled

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> _Settings:
        beta1, beta2, decay = settings["beta1"], settings["beta2"], settings["weight_decay"]
        return _Settings(
            beta1[:, 0].tolist(),
            beta2[:, 0].tolist(),
            (1 - beta1).to(dtype),
            (1 - beta2).to(dtype),
            settings["eps"],
            Some.of(decay, dtype),
            decay,
        )

    def update(
        self, params: Matrix, grads: Matrix, state: State, settings: _Settings, lr: Column, steps: Sequence[int]
    ) -> None:
        if not self.decoupled:
            grads = decayed(params, grads, settings.weight_decay)
        elif settings.weight_decay.any:
            params.mul_((1 - lr * settings.decay).to(params.dtype))
        mean = state["exp_avg"].lerp_(grads, settings.fresh1)
        square = state["exp_avg_sq"].lerp_(grads * grads, settings.fresh2)
        # lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps), with both corrections drawn into columns
        correction = corrections(settings.beta2, steps).sqrt_()
        size = -lr * correction / corrections(settings.beta1, steps)
        denominator = root(square).add_((settings.eps * correction).to(params.dtype))
        params.addcdiv_(mean * size.to(params.dtype), denominator)
