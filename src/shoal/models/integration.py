"""Differential equations for functions that are fitted: solved by operations that autograd follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Rates = Callable[..., Sequence[Tensor]]


def integrated(
    rates: Rates,
    start: Sequence[Tensor],
    at: Float[Tensor, " samples"],
    *,
    begin: float | None = None,
    steps: int = 10,
) -> Float[Tensor, "samples states"]:
    """The states of a system at some times, in any order, by the Runge-Kutta method of order 4 (Kutta, 1901).

    `rates(t, *states)` gives how fast each state changes. `start` has the states at the time `begin`, or at the first
    of `at`. From each time to the next it takes as many `steps`, all of the same length.
    """
    times, order = at.sort()
    # Without `begin` the first stretch has no length, and its steps leave the start as it is.
    now = times[0] if begin is None else torch.as_tensor(begin, dtype=at.dtype)
    states = torch.stack([torch.as_tensor(each, dtype=at.dtype) for each in start])
    found = []
    for time in times.unbind():
        length = (time - now) / steps
        for step in range(steps):
            states = states + _step(rates, now + step * length, states, length)
        now = time
        found.append(states)
    # In the order of `at` again: what sorts an order undoes it.
    return torch.stack(found)[order.argsort()]


def _step(rates: Rates, now: Tensor, states: Tensor, length: Tensor) -> Tensor:
    def slope(time: Tensor, there: Tensor) -> Tensor:
        return torch.stack(list(rates(time, *there.unbind())))

    half = length / 2
    first = slope(now, states)
    second = slope(now + half, states + half * first)
    third = slope(now + half, states + half * second)
    fourth = slope(now + length, states + length * third)
    return length / 6 * (first + 2 * (second + third) + fourth)
