"""What a step takes and gives: of one run, and of every run of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.clock import Clock
from shoal.step.unfit import CannotStackError

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
    presumed: Bool[Tensor, " runs"] | None = None
    """Whether each run's numbers were finite, variances not negative and classes known, where the step has asked."""

    def check(self, active: Sequence[bool]) -> None:
        """See that those of the runs that train were.

        Raises:
            CannotStackError: where they were not: alone, the step does something else then.
        """
        if self.presumed is not None and not all(
            held or not trains for held, trains in zip(self.presumed.cpu().tolist(), active, strict=True)
        ):
            raise CannotStackError(
                "asks whether its numbers are finite and its variances not negative, and they are not, "
                "or has classes beyond those of its one_hot",
                "a lower learning rate may keep them so",
            )


def leaves(batch: Any, keys: tuple[Tensor, ...]) -> list[Any]:
    """The tensors of a batch and the keys, in the order of their tree."""
    # Mostly a batch is a tuple of tensors, among which nothing has to be looked for.
    if type(batch) is tuple and all(type(each) is Tensor for each in batch):
        return [*batch, *keys]
    return pytree.tree_leaves((batch, keys))


class Names(NamedTuple):
    """What the tensors are called that a mapped step gives, in their order: losses, then these, then gradients."""

    logged: list[str]
    buffers: list[str]
    n_outputs: int
    unreached: frozenset[int]
    presumes: bool

    def of(self, tensors: Sequence[Tensor]) -> Stepped:
        """The result of the step that gave these."""
        losses, *rest = tensors
        # In the order in which a mapped step returns them; what is left at the end are the gradients.
        parts = iter(rest)
        logged = dict(zip(self.logged, islice(parts, len(self.logged)), strict=True))
        buffers = dict(zip(self.buffers, islice(parts, len(self.buffers)), strict=True))
        presumed = next(parts) if self.presumes else None
        outputs = list(islice(parts, self.n_outputs))
        return Stepped(losses, logged, buffers, outputs, list(parts), self.unreached, presumed)
