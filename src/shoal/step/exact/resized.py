"""A traced program for a stack of another size, made of the one there is: a trace takes as long as a hundred runs.

A step knows nothing of the stack that it is mapped over, so that its traces for two sizes differ in numbers alone: in
the shapes that their operations are given. What is made here is the trace of the other size, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from shoal.step.compiled.program import Program, runnable
from shoal.step.exact.rows import copied, made, made_of, repeated
from shoal.step.graph import describe, writes
from shoal.step.lowering import lowered

aten = torch.ops.aten

_RESHAPING = (aten.view.default, aten._unsafe_view.default, aten.reshape.default)
_NEW = (aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
_SIZE = 1
"""Place of the shape among the arguments of each of these."""


class CannotResizeError(Exception):
    """It cannot be told which of a program's numbers are those of the stack."""


def resized(module: GraphModule, n: int, inputs: Sequence[Tensor]) -> GraphModule:
    """The graph of a stack of `n`, changed into that of the size that these inputs have.

    Raises:
        CannotResizeError: where it cannot be told which numbers to change.
    """
    try:
        with torch.no_grad():
            _Resizing(module, n, len(inputs[0])).run(*map(copied, inputs))
    except Exception as error:  # whatever shapes that do not go together lead to: there is the trace itself
        raise CannotResizeError(str(error)) from error
    return module


class Resized:
    """A traced program beside what its trace for a run alone would be: to compare, not to mend."""

    def __init__(self, program: Program, inputs: Sequence[Tensor]) -> None:
        """`inputs` are those of the stack.

        Raises:
            CannotResizeError: where the other trace has to be made.
        """
        alone = [repeated(value, 0) for value in inputs]
        self._program = program
        self._alone = runnable(lowered(resized(program.graph(inputs), len(inputs[0]), alone)))

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results of the stack; see `Comparable.run`."""
        return made(self._program.tried, inputs)

    def alone(self, row: int, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results of a run alone; see `Comparable.alone`."""
        return made_of(self._alone, inputs)


class _Resizing(Interpreter):
    """Runs a graph on tensors of the other size, and changes each node on the way."""

    def __init__(self, module: GraphModule, n: int, other: int) -> None:
        super().__init__(module)
        # The message is logged as the reason; fx would put the text of the node into it.
        self.extra_traceback = False
        self._n = n
        self._other = other

    def run_node(self, n: Node) -> Any:
        """What a node gives; it and what is known of it are of the other size then."""
        if n.op == "call_function":
            found = self._called(n)
            describe(n, found)
            return found
        found = super().run_node(n)
        # A folded constant has no node to change: whether its length is the stack's or chance cannot be seen.
        if n.op == "get_attr" and self._n in found.shape:
            raise CannotResizeError("a constant may be as long as the stack")
        if isinstance(found, Tensor):
            describe(n, found)
        return found

    def _called(self, node: Node) -> Any:
        if writes(node):
            raise CannotResizeError("it writes to its memory as it goes")
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if node.target in (*_RESHAPING, *_NEW, aten.expand.default):
            size = self._size(node.target, args[0], args[_SIZE])
            node.args = (*node.args[:_SIZE], size, *node.args[_SIZE + 1 :])
            args = (*args[:_SIZE], size, *args[_SIZE + 1 :])
        # Rather no quick form than a wrong one: it would say that runs differ, or worse, that they agree.
        elif self._of_stack(args, kwargs):
            raise CannotResizeError(f"{node.target} is given a number that may be the stack's")
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _of_stack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a whole number among the arguments may have come from the number of runs."""
        # A multiple of the size will do: a dimension may be the runs times something.
        # Not isinstance: flags are ints as well, and say nothing of sizes.
        numbers = [each for each in pytree.tree_leaves((args, kwargs)) if type(each) is int]
        return any(each and each % self._n == 0 for each in numbers)

    def _size(self, target: Any, source: Tensor, size: Sequence[int]) -> list[int]:
        if target is aten.expand.default:
            return self._expanded(source, size)
        if target in _NEW:
            return [self._other, *size[1:]] if size and size[0] == self._n else list(size)
        return self._reshaped(source, size)

    def _expanded(self, source: Tensor, size: Sequence[int]) -> list[int]:
        """A dimension that is there already keeps its length; a new first one of the stack's length is the stack."""
        there = [1] * (len(size) - source.dim()) + list(source.shape)
        return [
            own if own > 1 else self._other if place == 0 and wanted == self._n else wanted
            for place, (own, wanted) in enumerate(zip(there, size, strict=True))
        ]

    def _reshaped(self, source: Tensor, size: Sequence[int]) -> list[int]:
        """The first dimension that the runs can be in, so that all elements have a place."""
        for place, wanted in enumerate(size):
            if wanted % self._n == 0:
                found = [*size[:place], wanted // self._n * self._other, *size[place + 1 :]]
                if torch.Size(found).numel() == source.numel():
                    return found
        return list(size)
