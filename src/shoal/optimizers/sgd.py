"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import nn

from shoal.errors import ConfigError
from shoal.optimizers.optimizer import Decay, Optimizer, Rate


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
        return torch.optim.SGD(
            params,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )
