"""The affine model: one linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import nn

from shoal.models.model import Model, linear

Finite = Annotated[float, Interval(ge=-1e30, le=1e30)]


@dataclass(frozen=True, kw_only=True)
class Affine(Model):
    """Outputs = weights x inputs + bias."""

    init: Literal["default", "zeros"] | Finite = "default"
    """First weights: drawn as torch does, all zero, or all this number."""
    init_bias: Finite | None = None
    """First bias, where it differs from the weights."""

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        layer = linear(inputs, outputs, generator=generator)
        with torch.no_grad():
            if self.init != "default":
                value = 0.0 if self.init == "zeros" else float(self.init)
                layer.weight.fill_(value)
                layer.bias.fill_(value)
            if self.init_bias is not None:
                layer.bias.fill_(self.init_bias)
        return layer
