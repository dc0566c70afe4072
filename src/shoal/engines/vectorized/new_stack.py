"""The stack of runs that have not begun: their parameters side by side, and what steps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from shoal.engines.launching import device_of
from shoal.engines.stack.averaging import Averaging
from shoal.engines.stack.by_objects import ByObjects
from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.rates import Rate
from shoal.engines.stack.run_optimizer import RunOptimizer, UnfitError
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.stepping import fitted
from shoal.engines.vectorized.member import Member


def new_stack(members: Sequence[Member], rates: Sequence[Rate | RunOptimizer], *, accumulate: int) -> Stack:
    """A stack of these runs, on the device of their accelerator; `rates` are theirs, in the same order.

    Raises:
        UnfitError: where the objects of their optimizers cannot step it.
    """
    own = [rate for rate in rates if isinstance(rate, RunOptimizer)]
    device = device_of(members[0].job.trainer)
    # Objects are tried where they are to step: each device has kernels of its own.
    weights = [each.to(device) for each in own[0].weights] if own else []
    # The first run's alone: all runs of a stack have optimizers of one kind, as their signatures say.
    rule = _by_objects(own[0], weights, accumulate) if own else members[0].job.optimizer.stacked()
    assert rule is not None
    norms, values = zip(*(member.limits() for member in members), strict=True)
    return Stack.of(
        [member.module for member in members],
        rule,
        rule.columns([member.job.optimizer.in_stack for member in members]),
        limits=GradientLimits.of(norms, values),
        own=own,
        averaging=[how for member in members if (how := Averaging.of(member.job.callbacks))],
        device=device,
    )


def _by_objects(own: RunOptimizer, weights: Sequence[Tensor], accumulate: int) -> ByObjects:
    found = fitted(own, weights, accumulate=accumulate)
    if own.by_hand and found.asks:
        raise UnfitError(
            f"{own.called} asks for the loss again, which a module that optimizes by hand gives it itself",
            "with automatic_optimization = True it stacks",
        )
    return replace(found, by_hand=own.by_hand)
