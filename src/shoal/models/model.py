"""What every model's settings offer, and how a linear layer draws its first weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """The settings of a model. The task says how many inputs and outputs it has."""

    @abstractmethod
    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        """A module from (batch, inputs) to (batch, outputs), its weights drawn from `generator`."""

    def reading(self, inputs: Callable[[], Sequence[str]]) -> Model:
        """The model for inputs of these names, which are asked for only where they matter."""
        del inputs
        return self


def linear(inputs: int, outputs: int, *, generator: torch.Generator) -> nn.Linear:
    """A linear layer drawn as torch does, U(-1/sqrt(inputs), 1/sqrt(inputs)), but from `generator`."""
    with torch.random.fork_rng(devices=[]):  # torch draws first weights too; these are replaced
        layer = nn.Linear(inputs, outputs)
    # As torch has it; a layer without inputs is its bias, which stays 0.
    bound = 1 / math.sqrt(inputs) if inputs else 0.0
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
