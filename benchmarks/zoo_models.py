"""Twelve small models of today's papers, each from (batch, inputs) to (batch, outputs), written as plainly as there."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import jvp


class Kind(NamedTuple):
    """A model, and the shape of what it learns from."""

    make: Callable[[], nn.Module]
    inputs: int
    outputs: int
    classes: bool = False


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class ResNetMLP(nn.Module):
    """Blocks of BatchNorm, two linear layers and a way around them (Gorishniy et al., 2021)."""

    def __init__(self, inputs: int, width: int, outputs: int, n_blocks: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for _ in range(n_blocks)
        )
        self.last = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class KANLayer(nn.Module):
    """A learned curve for each pair of an input and an output, of Gaussian bumps (Li, 2024)."""

    def __init__(self, inputs: int, outputs: int, n_bumps: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.register_buffer("centers", torch.linspace(-2, 2, n_bumps))
        self.curves = nn.Linear(inputs * n_bumps, outputs, bias=False)
        self.base = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        bumps = torch.exp(-((self.norm(x)[..., None] - self.centers) * 1.75).square())
        return self.curves(bumps.flatten(-2)) + self.base(nn.functional.silu(x))


class Sine(nn.Module):
    """The activation of SIREN (Sitzmann et al., 2020)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


class FourierFeatures(nn.Module):
    """Fixed random waves of the inputs, then an MLP (Tancik et al., 2020)."""

    waves: Tensor

    def __init__(self, inputs: int, waves: int, *widths: int) -> None:
        super().__init__()
        self.register_buffer("waves", torch.randn(inputs, waves) * 2)
        self.rest = mlp(2 * waves, *widths)

    def forward(self, x: Tensor) -> Tensor:
        angles = 2 * math.pi * x @ self.waves
        return self.rest(torch.cat([angles.sin(), angles.cos()], -1))


class Image(nn.Module):
    """Numbers as an image with one channel."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 1, self.side, self.side)


def conv_net() -> nn.Module:
    """Two convolutions over images of 8 by 8, as of the digits."""
    return nn.Sequential(
        Image(8),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


class Attention(nn.Module):
    """Self-attention and a feedforward layer, each after a LayerNorm and with a way around it."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.of_all = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feedforward = mlp(width, 2 * width, width, activation=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.of_all(self.norms[0](x)).unflatten(-1, (3, self.n_heads, -1)).unbind(-3)
        query, key, value = (each.transpose(-3, -2) for each in (query, key, value))
        weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
        x = x + self.out((weights @ value).transpose(-3, -2).flatten(-2))
        return x + self.feedforward(self.norms[1](x))


class Transformer(nn.Module):
    """A layer of attention over a sequence of tokens with four numbers each."""

    def __init__(self, tokens: int, width: int, outputs: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.first = nn.Linear(4, width)
        self.places = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.layer = Attention(width, 2)
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.unflatten(-1, (self.tokens, 4))) + self.places
        return self.last(self.layer(x).mean(-2))


class FTTransformer(nn.Module):
    """A token for each column of a table and one for the answer (Gorishniy et al., 2021)."""

    def __init__(self, columns: int, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(columns, width) * 0.1)
        self.bias = nn.Parameter(torch.randn(columns, width) * 0.1)
        self.answer = nn.Parameter(torch.randn(1, width) * 0.1)
        self.layers = nn.Sequential(Attention(width, 2), Attention(width, 2))
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[..., None] * self.weight + self.bias
        answer = self.answer.expand(*tokens.shape[:-2], *self.answer.shape)
        return self.last(self.layers(torch.cat([answer, tokens], -2))[..., 0, :])


class GRU(nn.Module):
    """A gated recurrent unit, step by step (Cho et al., 2014)."""

    def __init__(self, steps: int, width: int, outputs: int) -> None:
        super().__init__()
        self.steps, self.width = steps, width
        self.of_input = nn.Linear(2, 3 * width)
        self.of_state = nn.Linear(width, 3 * width)
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        given = self.of_input(x.unflatten(-1, (self.steps, 2)))
        state = torch.zeros_like(given[..., 0, : self.width])
        for step in range(self.steps):
            reset, update, new = given[..., step, :].chunk(3, -1)
            own_reset, own_update, own_new = self.of_state(state).chunk(3, -1)
            update = torch.sigmoid(update + own_update)
            new = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
            state = new + update * (state - new)
        return self.last(state)


class PINN(nn.Module):
    """The residual u'' + u of a network u, whose second derivative the training differentiates again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.u = mlp(1, width, width, 1, activation=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones_like(x)

        # The type of `jvp` has two results where there are three, and three where there are two.
        def slope(at: Tensor) -> tuple[Tensor, Tensor]:
            value, derivative = jvp(self.u, (at,), (ones,))  # type: ignore[misc]
            return derivative, value

        _, second, value = jvp(slope, (x,), (ones,), has_aux=True)  # type: ignore[misc]
        return second + value


ZOO: dict[str, Kind] = {
    "MLP 1-32-32-1": Kind(lambda: mlp(1, 32, 32, 1), 1, 1),
    "MLP 8-64-64-1": Kind(lambda: mlp(8, 64, 64, 1), 8, 1),
    "MLP 64-128-128-10": Kind(lambda: mlp(64, 128, 128, 10), 64, 10, classes=True),
    "ResNet-MLP, BatchNorm": Kind(lambda: ResNetMLP(8, 32, 1), 8, 1),
    "KAN 4-16-1": Kind(lambda: nn.Sequential(KANLayer(4, 16), KANLayer(16, 1)), 4, 1),
    "SIREN 2-32-32-1": Kind(lambda: mlp(2, 32, 32, 1, activation=Sine), 2, 1),
    "Fourier features": Kind(lambda: FourierFeatures(2, 16, 32, 32, 1), 2, 1),
    "conv net 8x8": Kind(conv_net, 64, 10, classes=True),
    "transformer layer": Kind(lambda: Transformer(8, 16, 1), 32, 1),
    "FT-Transformer": Kind(lambda: FTTransformer(8, 16, 1), 8, 1),
    "GRU, 8 steps": Kind(lambda: GRU(8, 16, 1), 16, 1),
    "PINN, u'' + u": Kind(lambda: PINN(32), 1, 1),
}
