"""What stands for optimizers, schedulers and what steps them, in a step that optimizes by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor

from shoal.step.hand import Event, Hand
from shoal.step.timed import Timed
from shoal.step.unfit import CannotStackError


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


class Optimizing:
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
