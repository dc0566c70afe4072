"""What every optimizer's settings offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import nn

from shoal.optimizers.rule import Rule

Rate = Annotated[float, Gt(0)]
Decay = Annotated[float, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """The settings of an update rule."""

    @abstractmethod
    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimizer that updates the parameters of one run."""

    @abstractmethod
    def stacked(self) -> Rule[Any] | None:
        """The same update over a stack of runs; None where there is none and runs train alone."""
