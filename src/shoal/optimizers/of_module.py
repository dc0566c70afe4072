"""The optimizer of a LightningModule with a `configure_optimizers` of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from shoal.errors import ConfigError
from shoal.optimizers.adam import Adam, AdamW
from shoal.optimizers.optimizer import Optimizer
from shoal.optimizers.rmsprop import RMSprop
from shoal.optimizers.rule import Rule
from shoal.optimizers.sgd import SGD

KNOWN = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop)
"""Those that shoal has rules for."""
_UNLIKE = ("amsgrad", "maximize", "centered", "dampening", "differentiable")
"""Options of torch's optimizers that shoal's have not, all of them off by default."""


@dataclass(frozen=True, kw_only=True)
class Own(Optimizer):
    """None to choose: `configure_optimizers` of the LightningModule in `task.module` makes it."""

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        raise ConfigError(
            "optimizer", "own", "is for a LightningModule with configure_optimizers", hint="optimizer=adam"
        )

    def stacked(self) -> Rule[Any] | None:
        return None


def alike(optimizer: torch.optim.Optimizer) -> Optimizer | None:
    """Settings of shoal's for the same update; None where shoal has no such optimizer."""
    kind = type(optimizer)
    # By type itself: a subclass may do anything. Groups have settings of their own, and a rule one for all parameters.
    if kind not in KNOWN or len(optimizer.param_groups) != 1:
        return None
    group = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    # A rate in a tensor is one that a program means to change from outside.
    if any(group.get(name) for name in _UNLIKE) or isinstance(group["lr"], torch.Tensor):
        return None
    kept = {name: group[name] for name in ("lr", "weight_decay")}
    if kind in (torch.optim.Adam, torch.optim.AdamW):
        beta1, beta2 = group["betas"]
        # Torch's Adam does what AdamW does where this is set.
        decoupled = kind is torch.optim.AdamW or group.get("decoupled_weight_decay")
        return (AdamW if decoupled else Adam)(beta1=beta1, beta2=beta2, eps=group["eps"], **kept)
    if kind is torch.optim.SGD:
        return SGD(momentum=group["momentum"], nesterov=group["nesterov"], **kept)
    return RMSprop(alpha=group["alpha"], eps=group["eps"], momentum=group["momentum"], **kept)
