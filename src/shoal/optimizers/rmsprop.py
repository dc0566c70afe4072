"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Interval
from torch import nn

from shoal.optimizers.optimizer import Decay, Optimizer, Rate


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
