"""A training step that optimizes by hand: what it does with its optimizers is written down, and done by the engine.

The step is a function of its weights up to each of its `manual_backward`s, and that function's gradient is taken as any
other's. What comes after an optimizer's step has the weights of after it: they are given with the batch, and the step
goes through its beginning once more, of which a trace keeps only what it still needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import pytorch_lightning as pl
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.hand import Hand, ReachedError
from shoal.step.optimizing import Optimizing
from shoal.step.stepped import Outcome, Tensors
from shoal.step.unfit import CannotStackError


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
    """The training step of a module that optimizes by hand; with its batch it is given weights of before updates.

    `hand.Followed` says what its settings are.
    """

    also = Optimizing
    needs_loss = False
    names: Sequence[Sequence[str]] = ()
    until: int | None = None
    ends = looks = takes = False
    kinds: tuple[Sequence[type], Sequence[type]] = ((), ())
    """The classes of the optimizers, and of the schedulers."""
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
        except ReachedError:
            assert hand.loss is not None
            return Outcome(hand.loss, {}, dict(buffers))
        finally:
            clock.within = 0
        # What it returns is no loss to be differentiated, but may be one to be logged.
        return found._replace(loss=found.loss if hand.loss is None else hand.loss, outputs=(found.loss.detach(),))
