"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, final

import torch
from annotated_types import Interval
from torch import nn

from shoal.errors import ConfigError
from shoal.optimizers.optimizer import Decay, Optimizer, Rate, fusable
from shoal.optimizers.rule import Column, Matrix, Rule, Some, State, decayed


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where asked for."""

    lr: Rate = 1e-2
    """Step size."""
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the last update kept in the next one."""
    nesterov: bool = False
    """Take the gradient's step from where momentum leads (Sutskever et al., 2013); needs momentum."""
    weight_decay: Decay = 0.0
    """L2 penalty on the weights."""

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ConfigError("nesterov", True, "needs a momentum above 0", hint="for example optimizer.momentum=0.9")

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        updated = list(params)
        return torch.optim.SGD(
            updated,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=fusable(updated),
        )

    def stacked(self) -> Rule[Any]:
        return StackedSGD()


class _Settings(NamedTuple):
    momentum: Some
    nesterov: Some
    weight_decay: Some


@final
@dataclass(frozen=True)
class StackedSGD(Rule[_Settings]):
    """Stochastic gradient descent over a stack; a momentum's first buffer is the first gradient, as torch has it."""

    settings = ("momentum", "nesterov", "weight_decay")
    state = ("momentum_buffer",)
    counts_steps = False

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> _Settings:
        return _Settings(*(Some.of(settings[name], dtype) for name in self.settings))

    def update(
        self, params: Matrix, grads: Matrix, state: State, settings: _Settings, step: tuple[Column, ...]
    ) -> None:
        direction = decayed(params, grads, settings.weight_decay)
        if settings.momentum.any:
            direction = _with_momentum(direction, state["momentum_buffer"], settings)
        params.addcmul_(direction, *step)

    def kept(self, settings: Mapping[str, float]) -> tuple[str, ...]:
        return self.state if settings["momentum"] else ()


def _with_momentum(direction: Matrix, buffer: Matrix, settings: _Settings) -> Matrix:
    momentum, nesterov = settings.momentum, settings.nesterov
    momentum.put(buffer * momentum.value + direction, buffer)
    ahead = buffer
    if nesterov.any:
        # The gradient's step, from where the buffer leads: g + momentum * buffer.
        ahead = nesterov.choose(torch.addcmul(direction, buffer, momentum.value), buffer)
    return momentum.choose(ahead, direction)
