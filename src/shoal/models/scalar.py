"""The model that is one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from shoal.models.model import Model


@dataclass(frozen=True, kw_only=True)
class Scalar(Model):
    """One parameter per output, whatever the input: what solving for x by gradient descent moves."""

    start: Annotated[float, Interval(ge=-1e30, le=1e30)] = 0.0
    """Value before the first step."""

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        del inputs, generator
        return ConstantOutput(torch.full((outputs,), self.start))


class ConstantOutput(nn.Module):
    """The same prediction for every row of the input: its parameter `value`, of shape (outputs,)."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x: Tensor) -> Tensor:
        # A view: its gradient is summed over the rows by autograd.
        return self.value.expand(x.shape[0], -1)
