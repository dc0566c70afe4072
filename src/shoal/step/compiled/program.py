"""A graph that is run again and again: by torch's operations, and once that has taken a while by compiled kernels.

Both give the same numbers to the bit: it does not matter when one takes over from the other, or whether it ever does.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from shoal.errors import first_line
from shoal.step.compiled.draft import Draft
from shoal.step.compiled.library import CannotCompileError
from shoal.step.compiled.one_kernel import OneKernel
from shoal.step.exact import remembered
from shoal.step.exact.rows import made, same_bits, varied
from shoal.step.lowering import lowered

log = logging.getLogger(__name__)

HOT = 0.15
"""Seconds of running after which compiling pays: with kernels that the machine has it takes as long or less, and saves
three fifths of what follows."""


@dataclass
class Heat:
    """How long the programs have run that train runs of one kind."""

    seconds: float = 0.0
    patience: float = 0.0
    """How many seconds longer than `HOT` they run before it pays."""
    _told: set[str] = field(default_factory=set)

    @property
    def hot(self) -> bool:
        """Whether it pays to compile them."""
        return self.seconds >= HOT + self.patience

    def tell(self, what: str) -> None:
        """Log what has come of it, once for the programs of all shapes."""
        if what not in self._told:
            log.info(what)
            self._told.add(what)


class Program:
    """A function of tensors, given as a graph."""

    def __init__(
        self,
        run: Callable[..., Any],
        graph: Callable[[Sequence[Tensor]], GraphModule],
        heat: Heat,
        what: str,
    ) -> None:
        """`run` is the function, `graph` gives it as operations that write to no memory but at the end (`copy_`).

        The graph is made for inputs like those given, and the caller's to change. `what` it is stands in the log.
        """
        self.graph = graph
        self.what = what
        self._run = run
        self._heat = heat
        self._draft: Draft | None = None
        self._settled = False
        self.compiled = False
        """Whether kernels have taken over."""
        self.one_kernel: OneKernel | None = None
        """The kernel, where one has taken over that does all of it."""
        self.name = ""
        """What has taken over, as a digest."""
        self.text: str | None = None
        """All that it computes, where that can be told."""

    def __call__(self, *inputs: Tensor) -> Any:
        """What the function gives for inputs, whose shapes and strides are always the same."""
        if self._settled:
            return self._run(*inputs)
        # Of this thread's own work: seconds in which others had the processor say nothing of what compiling saves.
        began = time.thread_time()
        outputs = self._run(*inputs)
        self._heat.seconds += time.thread_time() - began
        if self._heat.hot:
            self._compile(inputs)
        return outputs

    @property
    def settled(self) -> bool:
        """Whether it is known by what it goes on."""
        return self._settled

    def tried(self, *inputs: Tensor) -> Any:
        """The same, which does not count towards compiling it."""
        return self._run(*inputs)

    def of_graph(self, module: GraphModule) -> Program:
        """The program of another graph in the place of this one."""
        return of_graph(module, self._heat, self.what)

    def _compile(self, inputs: Sequence[Tensor]) -> None:
        """Begin to compile, or see whether that is done; let go of it where it fails."""
        try:
            self._draft = self._draft or Draft(self.graph(inputs), inputs)
            if not self._draft.ready():
                return
            module = self._draft.finished()
            compiled = runnable(module)
            name = remembered.digest(self._draft.name, inputs)
            if not remembered.known(name):
                # Each kernel agrees by itself; that memory is used again at the right time shows in the whole only.
                if not _agree(self._run, compiled, inputs):
                    raise CannotCompileError("other bits would come of it as a whole")
                remembered.keep(name)
            self._run, self.name, self.one_kernel = compiled, name, OneKernel.of(module)
            self.compiled = True
            self._heat.tell(f"The {self.what} goes on compiled")
        except Exception as error:  # whatever is in the way of it, torch goes on
            self._heat.tell(f"The {self.what} is not compiled: {first_line(error)}")
        self._settled, self._draft = True, None


def of_graph(module: GraphModule, heat: Heat, what: str) -> Program:
    """The program that runs a graph that writes to no memory."""
    # A copy, since lowering changes the graph, and compiling begins with the one that writes nowhere.
    made_of = lowered(copy.deepcopy(module))
    program = Program(runnable(made_of), lambda inputs: copy.deepcopy(module), heat, what)
    program.text = made_of.code
    return program


def _agree(one: Callable[..., Any], other: Callable[..., Any], inputs: Sequence[Tensor]) -> bool:
    """Whether two programs make the same of inputs like these, to the bit."""
    given = varied(inputs, 1)
    return all(map(same_bits, made(one, given), made(other, given)))


def runnable(module: GraphModule) -> Callable[..., Any]:
    """A graph as a function, of which no gradients are taken."""

    def run(*inputs: Tensor) -> Any:
        with torch.no_grad():
            return module.forward(*inputs)

    return run
