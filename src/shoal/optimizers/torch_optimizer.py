"""Any other torch optimizer, named by its class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from shoal.optimizers.of_module import KNOWN, alike
from shoal.optimizers.optimizer import Optimizer
from shoal.optimizers.rule import Rule


@dataclass(frozen=True, kw_only=True)
class TorchOptimizer(Optimizer):
    """A torch optimizer class with its settings, as `optimizer._target_=torch.optim.NAME` gives it."""

    cls: type[torch.optim.Optimizer]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.cls(params, **self.settings)

    @property
    def in_stack(self) -> Optimizer:
        return self._like or self

    @cached_property
    def _like(self) -> Optimizer | None:
        """Settings of shoal's for the same update."""
        # Of a parameter of its own: torch fills in its defaults, and refuses what is wrong.
        return alike(self.alone([nn.Parameter(torch.zeros(1))])) if self.cls in KNOWN else None

    def stacked(self) -> Rule[Any] | None:
        return self._like.stacked() if self._like else None
