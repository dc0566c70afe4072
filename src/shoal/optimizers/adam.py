"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, final

import torch
from annotated_types import Gt, Interval
from torch import nn

from shoal.optimizers.optimizer import Decay, Optimizer, Rate, fusable
from shoal.optimizers.rule import Column, Columns, Matrix, Rule, Some, State, corrections, decayed, root


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
        rule, updated = torch.optim.AdamW if self.decoupled else torch.optim.Adam, list(params)
        return rule(
            updated,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            # One kernel for all parameters: of a small network the loop over them is most of a step.
            fused=fusable(updated),
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
    fresh1: Column
    """Share of the new gradient in the running mean."""
    fresh2: Column
    """Share of the new squared gradient in the running mean."""
    weight_decay: Some


@final
@dataclass(frozen=True)
class StackedAdam(Rule[_Settings]):
    """Adam over a stack."""

    settings = ("beta1", "beta2", "eps", "weight_decay")
    state = ("exp_avg", "exp_avg_sq")

    decoupled: bool
    """Whether weight decay acts on the weights instead of the gradient."""

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> _Settings:
        fresh1, fresh2 = ((1 - settings[name]).to(dtype) for name in ("beta1", "beta2"))
        return _Settings(fresh1, fresh2, Some.of(settings["weight_decay"], dtype))

    def of_steps(
        self, settings: Mapping[str, Column], lrs: Columns, steps: Sequence[int], dtype: torch.dtype
    ) -> list[tuple[Column, ...]]:
        """The size of the step, eps, and what remains of the weights.

        Of lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps), with both corrections drawn into the first two.
        """
        first, second = (corrections(settings[name], steps, len(lrs)) for name in ("beta1", "beta2"))
        correction = second.sqrt_()
        # With c = sqrt(1-b2^t): lr m / (1-b1^t) / (sqrt(v) / c + eps) = (lr c / (1-b1^t)) m / (sqrt(v) + eps c).
        columns = -lrs * correction / first, settings["eps"] * correction, 1 - lrs * settings["weight_decay"]
        return list(zip(*(column.to(dtype) for column in columns), strict=True))

    def update(
        self, params: Matrix, grads: Matrix, state: State, settings: _Settings, step: tuple[Column, ...]
    ) -> None:
        size, eps, remaining = step
        if not self.decoupled:
            grads = decayed(params, grads, settings.weight_decay)
        elif settings.weight_decay.any:
            settings.weight_decay.put(params * remaining, params)
        mean = state["exp_avg"].lerp_(grads, settings.fresh1)
        square = state["exp_avg_sq"].lerp_(grads * grads, settings.fresh2)
        params.addcdiv_(mean * size, root(square).add_(eps))
