"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, final

import torch
from annotated_types import Gt, Interval
from torch import nn

from shoal.optimizers.optimizer import Decay, Optimizer, Rate
from shoal.optimizers.rule import Column, Matrix, Rule, Some, State, decayed, root


@dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton, 2012): the gradient over the root of its running mean square."""

    lr: Rate = 1e-2
    """Step size."""
    alpha: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    """Decay of the squared gradient's running mean."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """Added to the denominator."""
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the last update kept in the next one."""
    weight_decay: Decay = 0.0
    """L2 penalty on the weights."""

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            params,
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            foreach=False,
        )

    def stacked(self) -> Rule[Any]:
        return StackedRMSprop()


class _Settings(NamedTuple):
    fresh: Column
    """Share of the new squared gradient in the running mean."""
    eps: Column
    momentum: Some
    weight_decay: Some


@final
@dataclass(frozen=True)
class StackedRMSprop(Rule[_Settings]):
    """RMSprop over a stack."""

    settings = ("alpha", "eps", "momentum", "weight_decay")
    state = ("square_avg", "momentum_buffer")

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> _Settings:
        momentum, weight_decay = (Some.of(settings[name], dtype) for name in ("momentum", "weight_decay"))
        return _Settings((1 - settings["alpha"]).to(dtype), settings["eps"].to(dtype), momentum, weight_decay)

    def update(
        self, params: Matrix, grads: Matrix, state: State, settings: _Settings, step: tuple[Column, ...]
    ) -> None:
        grads = decayed(params, grads, settings.weight_decay)
        square = state["square_avg"].lerp_(grads * grads, settings.fresh)
        direction = grads / root(square).add_(settings.eps)
        if settings.momentum.any:
            buffer = state["momentum_buffer"]
            settings.momentum.put(buffer * settings.momentum.value + direction, buffer)
            direction = settings.momentum.choose(buffer, direction)
        params.addcmul_(direction, *step)

    def kept(self, settings: Mapping[str, float]) -> tuple[str, ...]:
        # Torch makes the buffer with a momentum only.
        return self.state if settings["momentum"] else self.state[:1]
