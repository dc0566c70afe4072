"""What is checked: a program of a stack, the same of a run alone, and how to see and to mend its operations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.fx import GraphModule

from shoal.step.blind import blind
from shoal.step.compiled.program import Program
from shoal.step.exact.calls import Observed, Observer, Place, observed, signature
from shoal.step.exact.grouped import Grouped
from shoal.step.exact.rows import Function, made, made_of


@runtime_checkable
class Comparable(Protocol):
    """A program of a stack and that of a run alone: all they take and give has the runs as its first dimension."""

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Everything that the program computes from these inputs; the inputs are not changed."""

    def alone(self, row: int, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What the program of a stack of two computes if both rows are the same run; the inputs may be changed."""


@runtime_checkable
class Subject(Comparable, Protocol):
    """One of which every operation can be seen, and mended."""

    what: str
    """What it is called."""

    def observe(self, inputs: Sequence[Tensor], observer: Observer) -> None:
        """Run the program and show every operation to the observer; nothing is mended."""

    def observe_small(self, inputs: Sequence[Tensor], observer: Observer) -> None:
        """Do the same for a stack of two or three runs."""

    def mend(self, found: Mapping[Place, Grouped]) -> None:
        """Compute these operations in groups from now on."""


class OfProgram:
    """A program that has a graph."""

    def __init__(
        self,
        program: Program,
        small: Callable[[Sequence[Tensor]], Program],
        alone: Callable[[int], Program] | None = None,
    ) -> None:
        """`small` makes the program of a smaller stack from its inputs; `alone` that of one run, where they differ."""
        self.what = program.what
        self.program = program
        """The one to run: another than the one given once something in it is mended."""
        self._given = program
        self._small = small
        self._alone = alone
        self._module: GraphModule | None = None

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return made(self.program.tried, inputs)

    def alone(self, row: int, inputs: Sequence[Tensor]) -> list[Tensor]:
        program = self._small(inputs) if self._alone is None else self._alone(row)
        return made_of(program.tried, inputs)

    def observe(self, inputs: Sequence[Tensor], observer: Observer) -> None:
        # One and the same graph from here to `mend`: what is found is known by the names of its nodes.
        self._module = self._module or self._given.graph(inputs)
        observed(self._module, inputs, observer)

    def observe_small(self, inputs: Sequence[Tensor], observer: Observer) -> None:
        observed(self._small(inputs).graph(inputs), inputs, observer)

    def mend(self, found: Mapping[Place, Grouped]) -> None:
        self.program = self._given
        if not found:
            return
        assert self._module is not None
        # A copy, since a later attempt observes the graph without what is mended.
        module = copy.deepcopy(self._module)
        for node in module.graph.nodes:
            if node.name in found:
                node.target = found[node.name]
        module.recompile()
        self.program = self._given.of_graph(module)


class OfFunction:
    """A function of Python's, as it is."""

    def __init__(self, what: str, function: Function, found: Mapping[Place, Grouped] | None = None) -> None:
        """`found` is what is computed in groups already."""
        self.what = what
        self.function = function
        self._before = dict(found or {})
        self.found = self._before

    def __call__(self, *inputs: Tensor) -> Any:
        """The function, with what was found computed in groups."""
        if not self.found:
            return self.function(*inputs)
        with Observed(Mending(self.found)):
            return self.function(*inputs)

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return self._made(inputs, Mending(self.found))

    def alone(self, row: int, inputs: Sequence[Tensor]) -> list[Tensor]:
        # Nothing is mended for the run alone: its bits are what the stack is held to.
        return self._made(inputs, Mending({}))

    def observe(self, inputs: Sequence[Tensor], observer: Observer) -> None:
        self._made(inputs, observer)

    observe_small = observe

    def mend(self, found: Mapping[Place, Grouped]) -> None:
        self.found = {**self._before, **found}

    def _made(self, inputs: Sequence[Tensor], observer: Observer) -> list[Tensor]:
        def function(*given: Tensor) -> Any:
            with Observed(observer):
                return self.function(*given)

        return made(function, inputs)


class Mending:
    """Observes, and computes some operations in groups."""

    def __init__(self, found: Mapping[Place, Grouped]) -> None:
        self._found = found
        self._operations = {each.call.operation for each in found.values()}
        self.seen = 0
        """What was seen, as a number: other operations, or of other shapes, give another."""

    def __call__(self, node: str | None, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        # The shape of the first argument only: this is done for every operation of every step that is not traced.
        first = args[0] if args else None
        self.seen = hash((self.seen, operation, first.shape if isinstance(first, Tensor) else None))
        if operation in self._operations:
            grouped = self._found.get(signature(operation, args, kwargs))
            if grouped is not None:
                return grouped(*args, **kwargs)
        return blind(operation, *args, **kwargs)
