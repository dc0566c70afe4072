"""What every optimizer's settings offer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import nn
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from shoal.names import LR
from shoal.optimizers.rule import Rule

Rate = Annotated[float, Gt(0)]
Decay = Annotated[float, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """The settings of an update rule."""

    @abstractmethod
    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimizer that updates the parameters of one run."""

    def of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The torch optimizer of a network that is about to train."""
        made = self.alone(network.parameters())
        if any(getattr(each, "sparse", False) for each in network.modules()):
            for group in made.param_groups:
                group["fused"] = False  # no fused update takes the sparse gradients of an embedding
        return made

    @property
    def in_stack(self) -> Optimizer:
        """The settings that `stacked` has names for."""
        return self

    @abstractmethod
    def stacked(self) -> Rule[Any] | None:
        """The same update over a stack of runs; None where there is none, and the torch optimizer itself is tried."""


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the first group; nan where it has none, as one that finds its steps by itself.

    Lightning's stand-in, where a module has no optimizer, has no groups.
    """
    return next((float(group.get(LR, math.nan)) for group in optimizer.param_groups), math.nan)


def fusable(params: Iterable[nn.Parameter]) -> bool:
    """Whether torch has a fused update for all of these: real floating point numbers on a device that has it."""
    # By torch's own list, though it is private: an optimizer that is told to be fused elsewhere raises.
    devices = _get_fused_kernels_supported_devices()
    return all(each.is_floating_point() and each.device.type in devices for each in params)
