"""What a step takes and gives: of one run, and of every run of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from shoal.engines.step.clock import Clock

Tensors = Mapping[str, Tensor]


class Outcome(NamedTuple):
    """What a step of one run gives."""

    loss: Tensor
    logged: dict[str, Tensor]
    buffers: dict[str, Tensor]
    outputs: tuple[Tensor, ...] = ()
    """What else is kept of it, where something is."""


Step = Callable[[Tensors, Tensors, Any, Clock], Outcome]
"""A step of one run as a function of its parameters, buffers and batch, none of which it changes."""


class Stepped(NamedTuple):
    """What a step gives for every run of a stack."""

    losses: Float[Tensor, " runs"]
    logged: dict[str, Tensor]
    """Scalars by name, of shape (runs,)."""
    buffers: dict[str, Tensor]
    outputs: list[Tensor]
    """What else the steps kept, of shape (runs, *shape)."""
    grads: list[Tensor]
    """Gradient of each parameter, of shape (runs, *shape); empty where none were asked for."""
    unreached: frozenset[int] = frozenset()
    """The places among the parameters of those that the gradient does not reach: theirs is zero."""


class Names(NamedTuple):
    """What the tensors are called that a mapped step gives, in their order: losses, then these, then gradients."""

    logged: list[str]
    buffers: list[str]
    n_outputs: int
    unreached: frozenset[int]

    def of(self, tensors: Sequence[Tensor]) -> Stepped:
        """The result of the step that gave these."""
        losses, *rest = tensors
        parts = iter(rest)
        logged = dict(zip(self.logged, islice(parts, len(self.logged)), strict=True))
        buffers = dict(zip(self.buffers, islice(parts, len(self.buffers)), strict=True))
        return Stepped(losses, logged, buffers, list(islice(parts, self.n_outputs)), list(parts), self.unreached)
