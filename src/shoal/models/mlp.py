"""The multilayer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval, MinLen
from torch import nn

from shoal.models.dropout import Dropout
from shoal.models.model import Model, linear

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}
# Written out once more: a type checker takes no keys of a dictionary.
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh", "identity"]


@dataclass(frozen=True, kw_only=True)
class MLP(Model):
    """Linear layers with an activation, and dropout where asked for, between them."""

    hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (32, 32)
    """Width of each hidden layer, from the input on."""
    activation: Activation = "relu"
    """Nonlinearity after each hidden layer."""
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of each hidden layer's outputs set to zero while training."""

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        widths = (inputs, *self.hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [linear(before, after, generator=generator), ACTIVATIONS[self.activation]()]
            if self.dropout:
                layers.append(Dropout(self.dropout, layer=len(layers)))
        return nn.Sequential(*layers, linear(widths[-1], outputs, generator=generator))
