"""A step of one run, taken for several at once by functorch: its loss, what it logs, its buffers and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from shoal.step import own_derivatives, tape
from shoal.step.clock import Clock
from shoal.step.drawn.replacing import unvalidated
from shoal.step.fixed import Fixed
from shoal.step.per_run import PerRun, no_inference
from shoal.step.presumed import Presumed
from shoal.step.recomputed import not_recomputed
from shoal.step.stepped import Step, Stepped, Tensors
from shoal.step.unfit import CannotStackError

Own = tuple[Tensor, ...]
"""A tensor with a row for each run, where there is one."""

_WRITTEN = ("vmap: inplace arithmetic", "doesn't match the broadcast shape", "has more elements than `self`")
"""In what functorch says where a step writes what each run has of its own to a tensor that all runs share."""
_HOW = {"fresh": _WRITTEN, "differentiates": tape.NEEDED, "has_functions": own_derivatives.NEEDED}
"""By what it is told of a step, how that is to be taken."""


@dataclass
class OverRuns:
    """Takes the step of every run, by `vmap` each time."""

    step: Step
    gradients: bool
    """Whether to take the gradient of the loss."""
    share: float
    """Factor of the loss before its gradient is taken."""
    presumes: bool
    """Whether a step that asks if numbers are finite is told so."""
    trains: bool = False
    """Whether it is a step of the training."""
    fresh: bool = False
    """Whether the step writes to tensors that it makes, which are each run's own then."""
    differentiates: bool = False
    """Whether the step asks autograd for derivatives."""
    has_functions: bool = False
    """Whether the step has functions with a derivative written by hand."""

    def __call__(
        self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock, keys: Own = (), times: Own = ()
    ) -> Stepped:
        """The step of every run; `keys` are of what the runs draw, `times` what a trace makes of the time."""
        given = params, buffers, batch, clock, keys, times
        try:
            return self._taken(*given)
        # functorch raises nothing more special: only the words tell.
        except RuntimeError as error:
            if not self._learns(str(error)):
                raise
            return self(*given)

    def _learns(self, words: str) -> bool:
        """Whether an error says how the step is to be taken instead."""
        # Not at once for every step: tensors of each run's own cost memory, and a kernel each.
        for how, said in _HOW.items():
            if not getattr(self, how) and any(each in words for each in said):
                setattr(self, how, True)
                return True
        return False

    def _taken(
        self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock, keys: Own = (), times: Own = ()
    ) -> Stepped:
        reached: set[int] = set()

        def alone(
            params: Tensors, buffers: Tensors, batch: Any, key: Own, times: Own
        ) -> tuple[Tensor, tuple[Tensor, Any, Any, Any, tuple[Tensor, ...]]]:
            for place, param in enumerate(params.values() if self.gradients else ()):
                # `grad` gives zeros where it does not reach; a hook alone tells those from a gradient that is zero.
                param.register_hook(partial(_note, reached, place))  # type: ignore[no-untyped-call]
            presumed = Presumed()
            # Without a trace too where tensors are made each run's own: their values could not be asked for.
            fixed = Fixed() if clock.time_use or self.fresh else nullcontext()
            if clock.time_use:
                clock.time_use.given = times[0] if times else None
            follows = tape.Tape() if self.differentiates else nullcontext()
            with (
                PerRun(),
                presumed if self.presumes else nullcontext(),
                fixed,
                unvalidated(),
                no_inference(),
                not_recomputed(),
                follows,
            ):
                with clock.of_run(*key, fresh=self.fresh):
                    loss, logged, new, outputs = self.step(params, buffers, batch, clock)
                held = presumed.held
            return loss * self.share if self.share != 1 else loss, (loss.detach(), logged, new, outputs, held)

        given = params, buffers, batch, keys, times
        if self.gradients:
            with self._functions():
                grads, (losses, logged, new, outputs, held) = vmap(grad(alone, has_aux=True))(*given)
            taken, unreached = [grads[name] for name in params], frozenset(range(len(params))) - reached
        else:
            taken, unreached = [], frozenset()
            # A step that optimizes by hand may ask for derivatives of its own, beside the gradient of any loss.
            with torch.set_grad_enabled(self.trains), self._functions():
                _, (losses, logged, new, outputs, held) = vmap(alone)(*given)
        return Stepped(losses, logged, new, list(outputs), taken, unreached, *held)

    @contextmanager
    def _functions(self) -> Iterator[None]:
        """Lets functions with a derivative written by hand be as they are written."""
        if not self.has_functions:
            yield
            return
        if self.differentiates:
            raise CannotStackError(
                "has autograd differentiate within the step, and has an autograd.Function as well",
                "one of the two stacks, or an expression of torch's functions for that Function",
            )
        with own_derivatives.own_derivatives():
            yield


def _note(reached: set[int], place: int, grad: Tensor) -> None:
    """Called with the gradient of a parameter that it reaches."""
    reached.add(place)
