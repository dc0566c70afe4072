"""What a training step does with its optimizers by hand, written down as it does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.step.clock import Clock
from shoal.step.stepped import Tensors
from shoal.step.unfit import CannotStackError

Kind = Literal["backward", "clear", "clip", "update", "schedule"]


class Event(NamedTuple):
    """Something that a step has done by hand."""

    kind: Kind
    of: int = 0
    """The number of the optimizer or of the scheduler."""
    limit: float = 0.0
    """To which gradients are clipped."""
    how: str = "norm"
    """Whether their norm is clipped, or their values."""


Older = Sequence[Mapping[str, Tensor]]
"""For each update that was done, what the weights that it has changed were before it."""


class ReachedError(BaseException):
    """Ends a step whose gradient is to be taken of what it has come to; no `except Exception` of a user's stops it."""


@runtime_checkable
class Followed(Protocol):
    """A step that is followed, and how."""

    module: pl.LightningModule
    names: Sequence[Sequence[str]]
    """Of the parameters of each optimizer."""
    until: int | None
    """The number of the backward whose loss it gives; the whole step where none."""
    ends: bool
    """Whether it ends there."""
    looks: bool
    """Whether to see which weights of after an update it computes with."""
    takes: bool
    """Whether to take gradients as it goes, as it does alone."""


class Hand:
    """What one call of a step does by hand."""

    loss: Tensor | None = None
    """What the gradient is to be taken of, once the step has come to it."""

    def __init__(self, step: Followed, params: Tensors, older: Older, clock: Clock) -> None:
        module = step.module
        self.names, self.until, self.ends = step.names, step.until, step.ends
        self.params, self.older, self.clock = params, older, clock
        self.events: list[Event] = []
        self.toggled: int | None = None
        self.backwards = 0
        self.used: set[int] = set()
        """The numbers of the updates whose weights the step has computed with, as far as that is looked at."""
        self._looks, self._takes = step.looks, step.takes
        self.grads: dict[str, Tensor] = {}
        """The last gradients, where they are taken as autograd has them."""
        self._changed: dict[str, int] = {}
        """The number of the last update of a weight."""
        self._put: dict[int, tuple[int, Tensor]] = {}
        """By its id, a weight that was put into the module after an update, whose number comes first."""
        self._stale: dict[int, Any] = {}
        """By their ids, weights that others were put in the places of: alone, an update changes them where they are."""
        self._there: dict[tuple[nn.Module, str], tuple[Any, Any]] = {}
        """What the step began with in a place, and what was put there."""
        first = {id(value): name for name, value in module.named_parameters()}
        self._places: dict[str, list[tuple[nn.Module, str]]] = {}
        for part in module.modules():
            for own, value in part._parameters.items():
                if value is not None:
                    self._places.setdefault(first[id(value)], []).append((part, own))

    def value(self, name: str) -> Tensor:
        """A weight as it is now, after the updates that were done."""
        own = self.params[name]
        kept = next((each[name] for each in self.older[self.clock.within :] if name in each), None)
        if kept is not None:
            # To autograd a weight is the same before its update and after it: both add to its gradient.
            own = kept if self.until is None else kept + (own - own.detach())
        return own.detach() if self.toggled is not None and name not in self.names[self.toggled] else own

    def put(self, names: Sequence[str]) -> None:
        """Let the module have these weights as they are now."""
        for name in names:
            with torch._C.DisableTorchFunction():  # no user computes with it here
                value = self.value(name)
                if self._looks and name in self._changed:
                    value = value.clone()  # a tensor that nobody else has, to know it by
                    self._put[id(value)] = self._changed[name], value
            for part, own in self._places[name]:
                if self._looks and name in self._changed:
                    self._stale[id(part._parameters[own])] = part._parameters[own]
                begun, _ = self._there.get((part, own), (part._parameters[own], None))
                self._there[part, own] = begun, value
                part._parameters[own] = value  # type: ignore[assignment]
                if isinstance(part, nn.RNNBase):  # which has its weights a second time
                    part._flat_weights[part._flat_weights_names.index(own)] = value

    def put_back(self) -> None:
        """Let the module have the weights that the step began with, where these are in their places."""
        for (part, own), (begun, value) in self._there.items():
            if part._parameters[own] is value:
                part._parameters[own] = begun
        # What follows is no part of the step.
        self._put.clear()

    def backward(self, loss: Any, gradient: Any = None, **settings: Any) -> None:
        if gradient is not None or settings.get("inputs") is not None or settings.get("create_graph"):
            raise CannotStackError(
                "gives backward() more than a loss", "torch.autograd.grad(..., create_graph=True) stacks"
            )
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise CannotStackError("takes a gradient of what is not a single number", "its mean() or sum() is one")
        self.events.append(Event("backward"))
        self.backwards += 1
        if self._takes:
            inputs = list(self.params.values())
            found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
            self.grads |= {name: each for name, each in zip(self.params, found, strict=True) if each is not None}
        if self.until == self.backwards - 1:
            self.loss = loss.reshape(())
            if self.ends:
                raise ReachedError

    def update(self, optimizer: int) -> None:
        self._changed |= dict.fromkeys(self.names[optimizer], self.clock.within)
        self.events.append(Event("update", optimizer))
        self.clock.within += 1
        self.put(self.names[optimizer])

    def computed_with(self, given: Any) -> None:
        """Take note of weights among what a function is given.

        Raises:
            CannotStackError: for one from before an update.
        """
        for leaf in pytree.tree_leaves(given) if self._put else ():
            if id(leaf) in self._put:
                self.used.add(self._put[id(leaf)][0])
            elif id(leaf) in self._stale:
                raise CannotStackError(
                    "computes with a weight that it has kept from before a step of its optimizer",
                    "the weight that its module has stacks",
                )

    def toggle(self, optimizer: int | None) -> None:
        """Let autograd see the weights of one optimizer alone, or of all."""
        if optimizer is not None and self.toggled is not None:
            raise CannotStackError(
                "toggles an optimizer while another is toggled", "with untoggle_optimizer in between it stacks"
            )
        self.toggled = optimizer
        self.put([name for names in self.names for name in names])
