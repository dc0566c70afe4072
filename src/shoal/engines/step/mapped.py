"""A step of one run, mapped over a stack: its loss, what it logs, its new buffers and its gradient, for every run.

The step is traced once for each set of shapes, the trace made cheaper (`passes`) and run without Python's and
functorch's part of the work. A step that looks at the clock (the batch's number, the epoch) or cannot be traced is
mapped anew each time; the kernels differ, so which of the two it is depends on the step alone, never on the stack.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.func import functionalize, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from shoal.engines.step.blind import PerRun, WholeVectors
from shoal.engines.step.compiled.program import Heat, Program, of_graph
from shoal.engines.step.passes import simplified

log = logging.getLogger(__name__)

Tensors = Mapping[str, Tensor]


class Clock:
    """Where in its training a step stands; `read` says whether the step has looked.

    The engine itself looks at `now`, which does not count.
    """

    def __init__(self, epoch: int = 0, batch: int = 0, step: int = 0) -> None:
        self.set(epoch, batch, step)
        self.read = False

    def set(self, epoch: int, batch: int, step: int) -> None:
        """Move to an epoch, a batch of it and the number of optimizer steps done."""
        self.now = (epoch, batch, step)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        self.read = True
        return self.now[0]

    @property
    def batch(self) -> int:
        """Batches done in this epoch."""
        self.read = True
        return self.now[1]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        self.read = True
        return self.now[2]


class Outcome(NamedTuple):
    """What a step of one run gives."""

    loss: Tensor
    logged: dict[str, Tensor]
    buffers: dict[str, Tensor]
    outputs: tuple[Tensor, ...] = ()
    """What else is kept of it, where something is."""


Step = Callable[[Tensors, Tensors, Any, Clock], Outcome]
"""A step of one run as a function of its parameters, buffers and batch, none of which it changes."""


class Stepped(NamedTuple):
    """What a step gives for every run of a stack."""

    losses: Float[Tensor, " runs"]
    logged: dict[str, Tensor]
    """Scalars by name, of shape (runs,)."""
    buffers: dict[str, Tensor]
    outputs: list[Tensor]
    """What else the steps kept, of shape (runs, *shape)."""
    grads: list[Tensor]
    """Gradient of each parameter, of shape (runs, *shape); empty where none were asked for."""


@dataclass(frozen=True)
class Trace:
    """A mapped step as a program, for inputs of one set of shapes."""

    program: Program
    logged: list[str]
    buffers: list[str]
    n_outputs: int

    def __call__(self, inputs: list[Tensor]) -> Stepped:
        """Run it on parameters, buffers and the batch's tensors."""
        losses, *rest = self.program(*inputs)
        parts = iter(rest)
        logged = dict(zip(self.logged, islice(parts, len(self.logged)), strict=True))
        buffers = dict(zip(self.buffers, islice(parts, len(self.buffers)), strict=True))
        return Stepped(losses, logged, buffers, list(islice(parts, self.n_outputs)), list(parts))


@dataclass
class Mapped:
    """A step mapped over the runs of a stack."""

    step: Step
    gradients: bool = True
    """Whether to take the gradient of the loss."""
    share: float = 1.0
    """Factor of the loss before its gradient is taken: one over the batches whose gradients are added up."""
    heat: Heat = field(default_factory=Heat, repr=False)
    """Shared with what else trains these runs."""
    traced: bool = True
    """Whether to try the trace."""
    refused: str | None = None
    """Why the step was not traced, once that is known."""
    _traces: dict[Any, Trace] = field(default_factory=dict, repr=False)

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Stepped:
        """The step of every run, from tensors that have the runs as their first dimension."""
        if not self.traced or self.refused:
            return self._untraced(params, buffers, batch, clock)
        leaves, spec = pytree.tree_flatten(batch)
        inputs = [*params.values(), *buffers.values(), *leaves]
        key = tuple((each.shape, each.stride(), each.dtype) for each in inputs)
        if key not in self._traces:
            trace = self._trace(list(params), list(buffers), spec, inputs, clock)
            if trace is None:
                return self._untraced(params, buffers, batch, clock)
            self._traces[key] = trace
        return self._traces[key](inputs)

    def _untraced(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Stepped:
        with WholeVectors():  # type: ignore[no-untyped-call]
            return self.plain(params, buffers, batch, clock)

    def plain(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Stepped:
        """The same by `vmap` each time."""

        def alone(params: Tensors, buffers: Tensors, batch: Any) -> tuple[Tensor, tuple[Tensor, Any, Any, Any]]:
            with PerRun():
                loss, logged, new, outputs = self.step(params, buffers, batch, clock)
            return loss * self.share if self.share != 1 else loss, (loss.detach(), logged, new, outputs)

        if self.gradients:
            grads, (losses, logged, new, outputs) = vmap(grad(alone, has_aux=True))(params, buffers, batch)
            return Stepped(losses, logged, new, list(outputs), [grads[name] for name in params])
        with torch.no_grad():
            _, (losses, logged, new, outputs) = vmap(alone)(params, buffers, batch)
        return Stepped(losses, logged, new, list(outputs), [])

    def _trace(
        self, params: list[str], buffers: list[str], spec: pytree.TreeSpec, inputs: list[Tensor], clock: Clock
    ) -> Trace | None:
        """The step as a graph for inputs of these shapes, or None where it cannot be traced."""
        names: list[tuple[list[str], list[str], int]] = []

        def flat(*inputs: Tensor) -> list[Tensor]:
            rest = inputs[len(params) :]
            batch = pytree.tree_unflatten(rest[len(buffers) :], spec)
            result = self.plain(
                dict(zip(params, inputs, strict=False)), dict(zip(buffers, rest, strict=False)), batch, clock
            )
            names.append((list(result.logged), list(result.buffers), len(result.outputs)))
            return [
                result.losses,
                *result.logged.values(),
                *result.buffers.values(),
                *result.outputs,
                *result.grads,
            ]

        clock.read = False
        # Without a context `make_fx` makes a fake mode for each value, which takes half of its time.
        try:
            with tracing(TracingContext(FakeTensorMode(allow_non_fake_inputs=True))):
                graph = make_fx(functionalize(flat), tracing_mode="real")(*inputs)
        except Exception as error:  # whatever the step does that a trace cannot hold
            self.refused = str(error).partition("\n")[0]
        else:
            self.refused = "the step looks at the clock" if clock.read else None
        if self.refused:
            log.info("The step is mapped anew each time: %s", self.refused)
            return None
        what = "training step" if self.gradients else "validation step"
        return Trace(of_graph(simplified(graph), self.heat, what), *names[-1])
