"""Networks as hypothesis draws them: layers of every kind, one on the other, of odd widths or of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from shoal.models import ACTIVATIONS, Dropout, Model


@dataclass(frozen=True)
class Part:
    """A layer that takes any number of features, as many as go into it."""

    kind: str
    width: int
    channels: int
    activation: str


@dataclass(frozen=True, kw_only=True)
class Network(Model):
    """Parts, one on the other."""

    parts: tuple[Part, ...]

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            layers: list[nn.Module] = []
            width = inputs
            for part in self.parts:
                layers += [*KINDS[part.kind](part, width, len(layers)), ACTIVATIONS[part.activation]()]
                width = _given_by(part, width)
            return nn.Sequential(*layers, nn.Linear(width, outputs))


@cache
def _given_by(part: Part, n: int) -> int:
    """How many features a part makes of `n`."""
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(*KINDS[part.kind](part, n, 0)).eval()(torch.zeros(2, n)).shape[1]


class Does(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attention(nn.Module):
    """Every token looks at all."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.projections, self.heads = nn.Linear(inputs, 3 * heads * width), heads

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.projections(x).unflatten(-1, (self.heads, -1)).transpose(-2, -3).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(queries, keys, values).flatten(1)


class Recurrence(nn.Module):
    """One feature after the other goes into a state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.taken, self.kept = nn.Linear(1, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        state = self.taken(x[:, :1])
        for i in range(1, min(x.shape[1], 4)):
            state = torch.tanh(self.taken(x[:, i : i + 1]) + self.kept(state))
        return state


def _sequence(part: Part, n: int) -> nn.Module:
    """The features as channels of a sequence, as many as go."""
    length = -(-n // part.channels)
    return nn.Sequential(_filled(n, part.channels * length), nn.Unflatten(1, (part.channels, length)))


def _image(part: Part, n: int) -> nn.Module:
    side = max(2, math.isqrt(n // part.channels))
    return nn.Sequential(_filled(n, part.channels * side * side), nn.Unflatten(1, (part.channels, side, side)))


def _filled(n: int, size: int) -> nn.Module:
    """So many features: some left out, or zeros added."""
    return nn.ZeroPad1d((0, size - n))


def _conv1d(part: Part, n: int, place: int) -> list[nn.Module]:
    return [_sequence(part, n), nn.Conv1d(part.channels, part.width, 3, padding=1), nn.Flatten()]


def _conv2d(part: Part, n: int, place: int) -> list[nn.Module]:
    return [_image(part, n), nn.Conv2d(part.channels, part.width, 3, padding=1), nn.MaxPool2d(2), nn.Flatten()]


def _attention(part: Part, n: int, place: int) -> list[nn.Module]:
    tokens = nn.Sequential(_sequence(part, n), Does(lambda x: x.transpose(1, 2)))
    return [tokens, Attention(part.channels, part.width, heads=part.channels)]


KINDS: Mapping[str, Callable[[Part, int, int], list[nn.Module]]] = {
    "linear": lambda part, n, place: [nn.Linear(n, part.width)],
    "dropout": lambda part, n, place: [nn.Linear(n, part.width), Dropout(0.3, layer=place)],
    "layer norm": lambda part, n, place: [nn.Linear(n, part.width), nn.LayerNorm(part.width)],
    "batch norm": lambda part, n, place: [nn.Linear(n, part.width), nn.BatchNorm1d(part.width)],
    "softmax": lambda part, n, place: [nn.Linear(n, part.width), nn.Softmax(-1)],
    "attention": _attention,
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "embedding": lambda part, n, place: [
        Does(lambda x: ((x * 2).long() + 4).clamp(0, 8)),
        nn.Embedding(9, part.channels),
        nn.Flatten(),
    ],
    "recurrence": lambda part, n, place: [Recurrence(part.width)],
    "normalized": lambda part, n, place: [Does(nn.functional.normalize), nn.Linear(n, part.width)],
    "reductions": lambda part, n, place: [
        Does(lambda x: torch.stack([x.logsumexp(1), x.std(1, correction=0), x.amax(1), x.prod(1), x.norm(dim=1)], 1)),
    ],
    "scan": lambda part, n, place: [Does(lambda x: x.cumsum(1)), nn.Linear(n, part.width), nn.PReLU(part.width)],
    "outer": lambda part, n, place: [
        nn.Linear(n, part.channels),
        Does(lambda x: torch.einsum("bi,bj->bij", x.sin(), x.exp().clamp(max=9.0)).flatten(1)),
    ],
}
"""What a part makes of so many features, at this place in the network."""

WIDTHS = st.one_of(st.just(1), st.integers(2, 17), st.sampled_from([31, 32, 33, 63, 65]))


@st.composite
def networks(draw: st.DrawFn, *, first: str | None = None, most: int = 3) -> Network:
    """Networks whose first part is of this kind, or of any."""
    deep = st.integers(1, most) if first is None else st.integers(0, most - 1)
    kinds = [draw(st.sampled_from(sorted(KINDS))) for _ in range(draw(deep))]
    return Network(
        parts=tuple(
            Part(kind, draw(WIDTHS), draw(st.integers(1, 3)), draw(st.sampled_from(sorted(ACTIVATIONS))))
            for kind in ([first] if first else []) + kinds
        )
    )
