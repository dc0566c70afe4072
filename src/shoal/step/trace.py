"""Traces of a mapped step: for inputs of one set of shapes, at the times at which it decides alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from shoal.errors import first_line
from shoal.step.clock import Clock
from shoal.step.compiled.program import Program
from shoal.step.stepped import Names, Stepped
from shoal.step.timed import SLOTS, TimeUse
from shoal.step.traced import traced


@dataclass(frozen=True)
class Trace:
    """A mapped step as a program, for inputs of one set of shapes."""

    program: Program
    names: Names
    draws: bool
    """Whether it makes anything of the keys."""
    time_use: TimeUse
    """What it makes of the time."""

    def __call__(self, inputs: Sequence[Tensor]) -> Stepped:
        """Run it on parameters, buffers, the batch's tensors and the keys."""
        return self.names.of(self.program(*inputs))


@dataclass(frozen=True)
class Refused:
    """A step that cannot be traced at some times."""

    time_use: TimeUse


def forms(inputs: Sequence[Tensor]) -> Any:
    """Shape, strides, type and device of each input: a trace serves inputs that agree in all of them."""
    return tuple((each.shape, each.stride(), each.dtype, each.device) for each in inputs)


class Traces:
    """What is known of a step, by the forms of its inputs: one for each way that it goes at some time."""

    def __init__(self) -> None:
        self._kept: dict[Any, list[Trace | Refused]] = {}

    def __iter__(self) -> Iterator[Trace | Refused]:
        return chain.from_iterable(self._kept.values())

    def at(self, inputs: Sequence[Tensor], clock: Clock) -> Trace | Refused | None:
        """What there is for such inputs at this time."""
        kept = self._kept.get(self._key(inputs, clock), ())
        return next((each for each in kept if each.time_use.holds(clock.now)), None)

    def add(self, found: Trace | Refused, inputs: Sequence[Tensor], clock: Clock) -> None:
        """Remember it for such inputs, and the times at which the step goes the same way."""
        self._kept.setdefault(self._key(inputs, clock), []).append(found)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    @staticmethod
    def _key(inputs: Sequence[Tensor], clock: Clock) -> Any:
        # Of several data loaders for validation, a step may do something else for each.
        return forms(inputs), clock.loader


def no_times(inputs: Sequence[Tensor]) -> Tensor:
    """The input that what a step makes of the time is put into, of shape (runs, SLOTS)."""
    return torch.zeros(len(inputs[0]), SLOTS, dtype=torch.float64, device=inputs[0].device)


def attempt(
    function: Callable[..., Any], inputs: Sequence[Tensor], clock: Clock
) -> tuple[GraphModule | None, TimeUse, str]:
    """A step as a graph, what it makes of the time, and why there is no graph."""
    time_use = clock.time_use = TimeUse(clock.now)
    clock.drawn = False
    try:
        graph = traced(function, inputs)
    except Exception as error:  # whatever the step does that a trace cannot hold
        return None, time_use, first_line(error)
    finally:
        clock.time_use = time_use.given = None
    # Asked apart from errors: a step goes on with a number that it is told.
    if time_use.told:
        return None, time_use, "the step asks for a number that follows from the time"
    return graph, time_use, ""
