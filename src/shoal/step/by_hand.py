"""A training step that optimizes by hand: what it does with its optimizers is written down, and done by the engine.

The step is a function of its weights up to each of its `manual_backward`s, and that function's gradient is taken as any
other's. What comes after an optimizer's step has the weights of after it: they are given with the batch, and the step
goes through its beginning once more, of which a trace keeps only what it still needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, NamedTuple, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.stepped import Outcome, Tensors
from shoal.step.timed import Timed
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


class _ReachedError(BaseException):
    """Ends a step whose gradient is to be taken of what it has come to; no `except Exception` of a user's stops it."""


class Hand:
    """What one call of a step does by hand."""

    loss: Tensor | None = None
    """What the gradient is to be taken of, once the step has come to it."""

    def __init__(self, step: ByHandStep, params: Tensors, older: Older, clock: Clock) -> None:
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
                raise _ReachedError

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


class _Optimizer:
    """Stands for an optimizer in a step."""

    def __init__(self, hand: Hand, number: int, kind: type) -> None:
        self._hand, self._number, self._kind = hand, number, kind

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return _wrapping(self._kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as copy asks
            raise AttributeError(name)
        raise CannotStackError(
            f"looks at {name} of its optimizer, which a stack steps for all runs at once",
            "step, zero_grad, toggle_model and self.clip_gradients are followed",
        )

    def step(self, closure: Any = None, **settings: Any) -> None:
        if closure is not None:
            closure()
        self._hand.update(self._number)

    def zero_grad(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            raise CannotStackError("keeps gradients of zero", "zero_grad() without set_to_none=False stacks")
        self._hand.events.append(Event("clear", self._number))

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        self._hand.toggle(self._number)
        yield
        self._hand.toggle(None)


@cache
def _wrapping(kind: Any) -> type:
    """The class that Lightning's wrapper of such an optimizer has."""
    return type(f"Lightning{kind.__name__}", (LightningOptimizer, kind), {})


class _Scheduler:
    """Stands for a scheduler in a step."""

    def __init__(self, hand: Hand, number: int, kind: type) -> None:
        self._hand, self._number, self._kind = hand, number, kind

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self._kind

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise CannotStackError(
            f"looks at {name} of its scheduler, which each run has its own of", "the learning rate is logged as lr"
        )

    def step(self, *measured: Any) -> None:
        if measured:
            raise CannotStackError(
                "gives a scheduler what it has measured",
                "a hook of the epoch's end may, by self.trainer.callback_metrics",
            )
        self._hand.events.append(Event("schedule", self._number))


class _Optimizing:
    """Stands, with what `captured` has, before the class of a module whose step optimizes by hand."""

    _hand: Hand
    _kinds: tuple[Sequence[type], Sequence[type]]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        own: Any = type(self).__mro__[1]
        found = own.training_step(self, *args, **kwargs)
        self._hand.put_back()
        if self._hand.toggled is not None:
            # Alone, the other weights would have no gradient in the next step either.
            raise CannotStackError("leaves an optimizer toggled", "with untoggle_optimizer at the end it stacks")
        return found

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        if not use_pl_optimizer:
            raise CannotStackError(
                "asks for its optimizers past Lightning, which would not count their steps",
                "those that self.optimizers() gives stack",
            )
        found = [_Optimizer(self._hand, number, kind) for number, kind in enumerate(self._kinds[0])]
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        found = [_Scheduler(self._hand, number, kind) for number, kind in enumerate(self._kinds[1])]
        return found[0] if len(found) == 1 else found or None

    def manual_backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        self._hand.backward(loss, *args, **kwargs)

    def toggle_optimizer(self, optimizer: Any) -> None:
        self._hand.toggle(optimizer._number)

    def untoggle_optimizer(self, optimizer: Any) -> None:
        self._hand.toggle(None)

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        self._hand.toggle(optimizer._number)
        yield
        self._hand.toggle(None)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for number, kind in enumerate(self._kinds[0]):
            _Optimizer(self._hand, number, kind).zero_grad(set_to_none)

    def clip_gradients(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        limit = gradient_clip_val.value if type(gradient_clip_val) is Timed else gradient_clip_val
        if isinstance(limit, Tensor):
            raise CannotStackError("clips gradients to a tensor", "a number of the module's settings is a limit")
        how = (gradient_clip_algorithm or "norm").lower()
        if limit and limit > 0:
            self._hand.events.append(Event("clip", optimizer._number, float(limit), how))


class _Gradients(TorchFunctionMode):
    """Within it `backward()` of a loss is followed, and `grad` of a weight, which a stack has elsewhere, is refused."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self._hand = hand

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.backward:
            return self._hand.backward(*args, **(kwargs or {}))
        if getattr(func, "__self__", None) is Tensor.grad:
            _refuse_gradients()
        self._hand.computed_with((args, kwargs))
        return func(*args, **(kwargs or {}))


def _refuse_gradients() -> NoReturn:
    raise CannotStackError(
        "looks at gradients, which a stack has for all runs at once",
        "self.clip_gradients clips them, and their norm is logged by itself",
    )


class ByHandStep(CapturedStep):
    """The training step of a module that optimizes by hand; with its batch it is given weights of before updates."""

    also = _Optimizing
    needs_loss = False
    names: Sequence[Sequence[str]] = ()
    """Of the parameters of each optimizer."""
    kinds: tuple[Sequence[type], Sequence[type]] = ((), ())
    """The classes of the optimizers, and of the schedulers."""
    until: int | None = None
    """The number of the backward whose loss it gives; the whole step where none."""
    ends = False
    """Whether it ends there."""
    looks = False
    """Whether to see which weights of after an update it computes with."""
    takes = False
    """Whether to take gradients as it goes, as it does alone."""
    hand: Hand
    """What the last call has done."""

    def like(self, module: pl.LightningModule) -> ByHandStep:
        """The same step of another module."""
        found = super().like(module)
        assert isinstance(found, ByHandStep)
        found.names, found.kinds = self.names, self.kinds
        found.until, found.ends = self.until, self.ends
        return found

    @contextmanager
    def up_to(self, until: int | None, *, ends: bool = True) -> Iterator[None]:
        """Within it the loss is that of the backward of this number; the step goes on after it unless it `ends`."""
        before = self.until, self.ends
        self.until, self.ends = until, ends
        try:
            yield
        finally:
            self.until, self.ends = before

    def given(self, batch: Any) -> Any:
        """A batch, before any update."""
        return batch, ()

    def beside(self) -> dict[str, Any]:
        """What its module has while it runs."""
        return {"_hand": self.hand, "_kinds": self.kinds}

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Outcome:
        batch, older = batch
        clock.within = 0
        hand = self.hand = Hand(self, params, older, clock)
        begun = {name: hand.value(name) for name in params}
        try:
            with _Gradients(hand):
                found = super().__call__(begun, buffers, batch, clock)
        except _ReachedError:
            assert hand.loss is not None
            return Outcome(hand.loss, {}, dict(buffers))
        finally:
            clock.within = 0
        # What it returns is no loss to be differentiated, but may be one to be logged.
        return found._replace(loss=found.loss if hand.loss is None else hand.loss, outputs=(found.loss.detach(),))
