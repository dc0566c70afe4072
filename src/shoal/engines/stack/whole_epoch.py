"""Steps of a stack that one function takes, run by run: those of plain layers, whose programs are one kernel each.

Nothing of Python's is between two steps, and what a run's steps need stays in the processor's cache. The numbers are
those of steps taken one by one, to the bit. Where one is not finite, or so large that it could soon be, all is put back
as it was, for steps taken one by one: they say which run it is, and stop that.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.update import ProgrammedUpdate
from shoal.optimizers.rule import Column
from shoal.step.compiled.one_kernel import OneKernel, Place
from shoal.step.compiled.program import Program
from shoal.step.exact import remembered
from shoal.step.stepped import Stepped
from shoal.step.trace import Trace

PATIENCE = 0.1
"""Seconds, about, until a request to stop is heard."""


class PlannedStep(NamedTuple):
    """What a step is taken by."""

    batch: Any
    trace: Trace
    inputs: list[Tensor]
    """What the trace is given."""
    numbers: tuple[Column, ...]
    """What the update is given beside its tensors."""


class Gradients(NamedTuple):
    """The kernel of a step, whose gradients go straight into the matrix of the stack."""

    one: OneKernel
    columns: dict[int, int]
    """The first column of each output that is a gradient, by its number."""

    @classmethod
    def of(cls, trace: Trace, stack: Stack) -> Gradients | None:
        """That of a trace; None where it has none, or leaves more than gradients and numbers."""
        one, names, layout = trace.program.one_kernel, trace.names, stack.layout
        if one is None or names.presumes or names.unreached or any(to is not None for to in one.over):
            return None
        numbers = one.places[: 1 + len(names.logged)]
        buffers = one.places[len(numbers) :][: len(names.buffers)]
        grads = one.places[len(one.places) - len(layout.names) :]
        # A buffer that changes would have to go from step to step: these are what was given.
        if list(buffers) != [len(layout.names) + number for number in range(len(buffers))]:
            return None
        columns = {}
        for place, (column, _), shape in zip(grads, layout.places, layout.shapes, strict=True):
            if not isinstance(place, Place) or place.output in columns or not _lies_as(place, shape):
                return None
            columns[place.output] = column
        if any(not isinstance(each, Place) or each.output in columns for each in numbers):
            return None
        return cls(one, columns) if _is_column(numbers[0], one, stack.params.dtype) else None


Known = dict[int, tuple[Program, Gradients | None]]
"""By the identity of a trace's program, which is kept beside: what has gone may leave its identity to another."""


def _lies_as(place: Place, shape: torch.Size) -> bool:
    """Whether the numbers of a run's gradient lie in the order of its parameter's."""
    usual = torch.empty(shape, device="meta").stride()
    triples = zip(place.strides[1:], usual, shape, strict=True)
    return not place.offset and all(one == other for one, other, size in triples if size > 1)


def _is_column(losses: Place | int, one: OneKernel, dtype: torch.dtype) -> bool:
    """Whether the losses lie side by side, in the type of the gradients."""
    found = losses.of(one.kernel.made()) if isinstance(losses, Place) else None
    return found is not None and found.dtype == dtype and found.stride() == (1,) and not found.storage_offset()


@dataclass
class WholeEpoch:
    """The steps of an epoch."""

    stack: Stack
    grads: Tensor
    update: ProgrammedUpdate
    steps: Sequence[PlannedStep]
    kernels: Sequence[Gradients]
    """Of each step."""

    def __post_init__(self) -> None:
        stack = self.stack
        self.last = torch.zeros_like(self.grads)
        """The gradients of the last step that was taken, before they are clipped."""
        self._limits = {name: limits for name, _, limits in stack.limits.clippings(self.grads)}
        self._before = self.copied()
        self._counted = list(stack.steps), list(stack.active), dict(stack.diverged)

    @classmethod
    def of(
        cls, stack: Stack, grads: Tensor, update: ProgrammedUpdate, steps: Sequence[PlannedStep], known: Known
    ) -> WholeEpoch | None:
        """That of these steps; None where they have to be taken one by one. What is found of a trace becomes known."""
        one = update.program.one_kernel
        if one is None or one.places or None in one.over or grads.dtype not in one.kernel.addresses.steps:
            return None
        for program, trace in {id(each.trace.program): each.trace for each in steps}.items():
            # What it is before it is compiled is not what it stays.
            if trace.program.settled and program not in known:
                known[program] = trace.program, Gradients.of(trace, stack)
        found = [known[key][1] if (key := id(each.trace.program)) in known else None for each in steps]
        kernels = [each for each in found if each is not None]
        return cls(stack, grads, update, steps, kernels) if len(kernels) == len(steps) else None

    @cached_property
    def name(self) -> str:
        """What its numbers come from."""
        programs = [*(each.trace.program for each in self.steps), self.update.program]
        return " ".join([*dict.fromkeys(each.name for each in programs), *self._limits])

    @property
    def digest(self) -> str:
        """The same, where this process computes it."""
        return remembered.digest(self.name, [self.grads])

    def some_of_each(self) -> WholeEpoch:
        """Two steps by each of its kernels, where there are two: what one leaves the next one meets."""
        numbers: dict[int, list[int]] = {}
        for number, each in enumerate(self.steps):
            numbers.setdefault(id(each.trace), []).append(number)
        some = sorted(number for each in numbers.values() for number in each[:2])
        steps, kernels = [self.steps[each] for each in some], [self.kernels[each] for each in some]
        return WholeEpoch(self.stack, self.grads, self.update, steps, kernels)

    def take(self, stop: Callable[[], bool] = lambda: False) -> EpochHistory | None:
        """What the steps give, without norms; None where a number is not finite, and all is as it was before them.

        Once in a while `stop` is asked whether the steps so far were the last.
        """
        history, done, n = EpochHistory(), 0, 1
        while done < len(self.steps) and not stop():
            began = time.perf_counter()
            end = min(done + n, len(self.steps))
            if not self._some(range(done, end), history):
                self.put_back()
                return None
            # The first step tells how long one takes.
            n = max(1, int(PATIENCE * (end - done) / (time.perf_counter() - began)))
            done = end
        return history

    def put_back(self) -> None:
        """Let the stack be as it was before the steps."""
        stack, (steps, active, diverged) = self.stack, self._counted
        stack.steps, stack.active, stack.diverged = list(steps), list(active), dict(diverged)
        for each, before in zip(self._changing, self._before, strict=True):
            each.copy_(before)

    def copied(self) -> list[Tensor]:
        """All of the stack that steps change."""
        return [each.clone() for each in self._changing]

    @property
    def _changing(self) -> list[Tensor]:
        return [self.stack.params, *self.stack.state.values()]

    def _some(self, taken: range, history: EpochHistory) -> bool:
        """Take some steps; whether all numbers were finite."""
        grads, held = self.grads, list[object]()
        numbers = [len(grads), len(taken), grads.data_ptr(), grads.shape[1], _apart(grads), self.last.data_ptr()]
        numbers += [self._limits[name].data_ptr() if name in self._limits else 0 for name in ("norm", "values")]
        for number in taken:
            history.note(self._step(number, numbers, held), self.steps[number].batch)
        take = self.kernels[0].one.kernel.addresses.steps[grads.dtype]
        if not take((ctypes.c_long * len(numbers))(*numbers)):
            return False
        self.stack.steps = [done + len(taken) for done in self.stack.steps]
        return True

    def _step(self, number: int, numbers: list[int], held: list[object]) -> Stepped:
        """What a step will give; `numbers` come to tell how it is taken, `held` is what has to stay until then."""
        step, (one, columns) = self.steps[number], self.kernels[number]
        outputs = one.kernel.made([self.grads if place in columns else None for place in range(one.kernel.n_outputs)])
        to = [each.data_ptr() + columns.get(place, 0) * each.element_size() for place, each in enumerate(outputs)]
        names = step.trace.names
        places = one.places[: 1 + len(names.logged)]
        losses, *logged = (place.of(outputs) for place in places if isinstance(place, Place))
        pointers = one.kernel.pointers([step.inputs[place].data_ptr() for place in one.inputs], to)
        numbers += [_told(pointers, held), one.kernel.calls(dict.fromkeys(columns, _apart(self.grads)))]
        numbers += [losses.data_ptr(), *self._updated(step.numbers, held)]
        held.append(outputs)
        return Stepped(losses, dict(zip(names.logged, logged, strict=True)), {}, [], [])

    def _updated(self, numbers: tuple[Column, ...], held: list[object]) -> list[int]:
        one = self.update.program.one_kernel
        assert one is not None
        given = [each.data_ptr() for each in (*self.update.tensors, *numbers)]
        over = [given[place] for place in one.over if place is not None]
        return [_told(one.kernel.pointers([given[place] for place in one.inputs], over), held), one.kernel.calls({})]


def _apart(grads: Tensor) -> int:
    """Bytes from the gradient of a run to the next one's."""
    return grads.stride(0) * grads.element_size()


def _told(pointers: Sequence[int], held: list[object]) -> int:
    """Where the addresses are told."""
    array = (ctypes.c_void_p * len(pointers))(*pointers)
    held.append(array)
    return ctypes.addressof(array)
