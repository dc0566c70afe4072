"""A step of one run, mapped over a stack: its loss, what it logs, its new buffers and its gradient, for every run.

The step is traced once for each set of shapes, the trace made cheaper (`passes`) and run without Python's and
functorch's part of the work. Where it decides by the time (the batch's number, the epoch) there is a trace for each way
it goes, and what it computes from the time is an input (`timed`). A step that cannot be traced is mapped anew each
time; the kernels differ, so which of the two it is depends on the step and the time alone, never on the stack.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.blind import WholeVectors
from shoal.step.clock import Clock
from shoal.step.compiled.program import Heat, Program, of_graph
from shoal.step.exact.calls import Observed, Place
from shoal.step.exact.grouped import Grouped
from shoal.step.exact.guard import Guard
from shoal.step.exact.resized import CannotResizeError, Resized
from shoal.step.exact.subject import Mending, OfFunction, OfProgram
from shoal.step.over_runs import OverRuns
from shoal.step.passes import simplified
from shoal.step.stepped import Names, Step, Stepped, Tensors, leaves
from shoal.step.timed import TimeUse
from shoal.step.trace import Refused, Trace, Traces, attempt, no_times
from shoal.step.unfit import CannotStackError
from shoal.tasks.precision import new_tensors

log = logging.getLogger(__name__)


class _Flat:
    """A mapped step as a function of tensors alone."""

    def __init__(self, mapped: Mapped, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> None:
        self._given = batch, clock.keys_of(trains=bool(mapped.trains), needed=mapped.draws)
        self.inputs: list[Tensor] = [*params.values(), *buffers.values(), *leaves(*self._given)]
        if mapped.timed:
            self.inputs.append(no_times(self.inputs))
        self.clock = clock
        self._mapped = mapped
        self._params, self._buffers = list(params), list(buffers)
        self._names: Names | None = None

    def at(self, time_use: TimeUse) -> list[Tensor]:
        """The inputs, what a step makes of the time among them as it is now."""
        if time_use.slots:
            values = self.inputs[-1].new_tensor(time_use.values(self.clock.now))
            self.inputs[-1] = values.repeat(len(self.inputs[-1]), 1)
        return self.inputs

    @property
    def names(self) -> Names:
        """The names of the tensors that it returned; only known after a call."""
        assert self._names is not None
        return self._names

    def __call__(self, *given: Tensor) -> list[Tensor]:
        inputs: Sequence[Tensor] = given
        times: tuple[Tensor, ...] = ()
        if self._mapped.timed:
            *inputs, last = inputs
            times = (last,)
        params = dict(zip(self._params, inputs, strict=False))
        rest = inputs[len(params) :]
        buffers = dict(zip(self._buffers, rest, strict=False))
        batch, keys = pytree.tree_unflatten(rest[len(buffers) :], pytree.tree_structure(self._given))
        found = self._mapped.over_runs(params, buffers, batch, self.clock, keys, times)
        held = [] if found.presumed is None else [found.presumed]
        names = list(found.logged), list(found.buffers)
        self._names = Names(*names, len(found.outputs), found.unreached, presumes=bool(held))
        return [found.losses, *found.logged.values(), *found.buffers.values(), *held, *found.outputs, *found.grads]


def _quick(program: Program, inputs: Sequence[Tensor]) -> Resized | None:
    """A traced program beside that of a run alone, which is derived from it; None where only a trace gives that."""
    try:
        return Resized(program, inputs)
    except CannotResizeError as why:
        log.debug("The %s is traced for a run alone: %s", program.what, why)
        return None


@dataclass
class Mapped:
    """A step mapped over the runs of a stack."""

    step: Step
    gradients: bool = True
    """Whether to take the gradient of the loss."""
    trains: bool | None = None
    """Whether it is a step of the training; as `gradients` unless it is said."""
    share: float = 1.0
    """Factor of the loss before its gradient is taken: one over the batches whose gradients are added up."""
    double: bool = False
    """Whether whole numbers become float64 where they are divided and the like: in a trace, where that is run."""
    heat: Heat = field(default_factory=Heat, repr=False)
    """Shared with what else trains these runs."""
    guard: Guard = field(default_factory=Guard, repr=False)
    """Compares each program with that of a run alone; shared, too."""
    traced: bool = True
    """Whether to try the trace."""
    refused: str | None = None
    """Why the step was not traced, once that is known."""
    unreached: frozenset[int] | None = None
    """The places of the parameters that its gradient does not reach, once that is known."""
    presumes: bool = True
    """Whether a step that asks if numbers are finite is told so: who calls it sees to it that they were."""
    draws: bool = True
    """Whether the step makes anything of the keys, as far as is known."""
    timed: bool = False
    """Whether it computes anything from the time, as far as is known: it is given an input for that then."""
    _traces: Traces = field(default_factory=Traces, repr=False)
    _guarded: Traces = field(default_factory=Traces, repr=False)
    """Those that the guard has passed."""
    _found: dict[Place, Grouped] = field(default_factory=dict, repr=False)
    """What is computed in groups of a step that is not traced."""
    _seen: set[int] = field(default_factory=set, repr=False)
    """The sequences of its operations that the guard has passed."""

    def __post_init__(self) -> None:
        self.trains = self.gradients if self.trains is None else self.trains
        self.over_runs = OverRuns(self.step, self.gradients, self.share, self.presumes, bool(self.trains))

    @property
    def what(self) -> str:
        """What it is called."""
        return "training step" if self.trains else "validation step"

    def parts(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Iterator[tuple[Mapped, Any]]:
        """What is mapped of the step, and the batch that it is given: of this one, all of it."""
        del params, buffers, clock
        yield self, batch

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Stepped:
        """The step of every run, from tensors that have the runs as their first dimension.

        Raises:
            InexactError: where the guard lets these runs not train together.
        """
        flat = _Flat(self, params, buffers, batch, clock)
        with new_tensors(double=self.double) if self.double else nullcontext():
            trace = self._ready(flat)
            found = self._untraced(flat) if trace is None else trace(flat.at(trace.time_use))
        if self.unreached is None:
            self.unreached = found.unreached
        elif self.unreached != found.unreached:
            raise CannotStackError(
                "reaches other parameters with its gradient than before",
                "a term that is multiplied by 0 where it does not count reaches the same ones in every step",
            )
        return found

    def anew(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Stepped:
        """The same, by functorch and never by a trace; where its bits come from is not looked at."""
        flat = _Flat(self, params, buffers, batch, clock)
        found = flat(*flat.inputs)
        return flat.names.of(found)

    def given(
        self, params: Tensors, buffers: Tensors, batches: Sequence[Any], clock: Clock
    ) -> list[tuple[Trace, list[Tensor]]] | None:
        """For each batch the trace that a call would run, and what on; None where calls do more than that.

        Raises:
            InexactError: as a call.
        """
        keys = clock.keys_of(trains=bool(self.trains), needed=False) if type(clock) is Clock else ()
        found: dict[Any, Trace] = {}
        result: list[tuple[Trace, list[Tensor]]] = []
        for batch in batches:
            own = leaves(batch, keys)
            key = tuple((each.shape, each.stride(), each.dtype) for each in own)
            if key not in found:
                with new_tensors(double=self.double):
                    trace = self._ready(_Flat(self, params, buffers, batch, clock)) if type(clock) is Clock else None
                # What draws has other keys in each step, and what looks at the time another time.
                if trace is None or self.draws or not trace.time_use.timeless:
                    return None
                found[key] = trace
            result.append((found[key], [*params.values(), *buffers.values(), *own]))
        return result

    def forget(self) -> None:
        """Trace the step anew: it has changed since."""
        self._traces.clear()
        self._guarded.clear()
        self.refused = None

    def time_use(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> TimeUse:
        """What the step makes of the time now, taken for nothing else."""
        self.timed = True
        flat, time_use = _Flat(self, params, buffers, batch, clock), TimeUse(clock.now)
        clock.time_use = time_use
        try:
            flat(*flat.inputs)
        finally:
            clock.time_use = time_use.given = None
        return time_use

    def rehearse(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> None:
        """Have everything ready for a call like this.

        Raises:
            InexactError: as a call.
        """
        flat = _Flat(self, params, buffers, batch, clock)
        with new_tensors(double=self.double):
            if self._ready(flat) is None:
                self._untraced(flat)

    def _ready(self, flat: _Flat) -> Trace | None:
        """The trace to run; None where the step is mapped anew each time."""
        if not self.traced or self.refused:
            return None
        found = (self._guarded if self.guard.on else self._traces).at(flat.inputs, flat.clock)
        if found is None:
            found = self._trace(flat, flat.inputs)
            if isinstance(found, Trace) and self.guard.on:
                # Apart from `_traces`, where the guard's own small stacks are, which were compared with nothing.
                found = self._settled(found, flat)
                self._guarded.add(found, flat.inputs, flat.clock)
        flat.clock.read |= found is not None and not found.time_use.timeless
        return found if isinstance(found, Trace) else None

    def _settled(self, trace: Trace, flat: _Flat) -> Trace:
        """The trace as the guard lets it pass."""

        def small(inputs: Sequence[Tensor]) -> Program:
            found = self._trace(flat, list(inputs))
            assert isinstance(found, Trace)
            return found.program

        subject = OfProgram(trace.program, small)
        inputs = flat.at(trace.time_use)
        self.guard.settle(subject, inputs, trace.program.text, quickly=lambda: _quick(trace.program, inputs))
        return replace(trace, program=subject.program)

    def _trace(self, flat: _Flat, inputs: list[Tensor]) -> Trace | Refused | None:
        """The step as a graph for inputs of these shapes at this time; refused, or None, where it cannot be traced."""
        found = self._traces.at(inputs, flat.clock)
        if found is not None or self.refused:
            return found
        graph, time_use, refused = attempt(flat, inputs, flat.clock)
        if time_use.lacks and not self.timed:
            # Known only now: once more, with an input for it.
            self.timed = True
            inputs.append(no_times(inputs))
            return self._trace(flat, inputs)
        if graph is None:
            log.info("The step is mapped anew each time: %s", refused)
            self.refused = refused if not time_use.decisions else None
            found = Refused(time_use)
        else:
            found = Trace(of_graph(simplified(graph), self.heat, self.what), flat.names, flat.clock.drawn, time_use)
        self._traces.add(found, inputs, flat.clock)
        self.draws = any(isinstance(each, Refused) or each.draws for each in self._traces)
        return found

    def _untraced(self, flat: _Flat) -> Stepped:
        if not self.guard.on:
            with WholeVectors():  # type: ignore[no-untyped-call]
                found = flat(*flat.inputs)
            return flat.names.of(found)
        result, seen = self._mended(flat)
        if seen not in self._seen:
            subject = OfFunction(self.what, flat, self._found)
            self.guard.settle(subject, flat.inputs)
            self._found = subject.found
            result, seen = self._mended(flat)
            self._seen.add(seen)
        return result

    def _mended(self, flat: _Flat) -> tuple[Stepped, int]:
        """The result, and what was computed for it, as a number."""
        mending = Mending(self._found)
        with Observed(mending):
            result = flat(*flat.inputs)
        return flat.names.of(result), mending.seen
