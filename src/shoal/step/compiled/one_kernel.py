"""A program that is one kernel and views of what that gives: nothing of it is left to torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from shoal.step.compiled.kernel import Kernel, result
from shoal.step.graph import evaluated, writes


@dataclass(frozen=True)
class Place:
    """Where one of the program's results lies."""

    output: int
    """In which of the kernel's outputs."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    """Elements in front of it."""

    def of(self, outputs: list[Tensor]) -> Tensor:
        """The result."""
        return outputs[self.output].as_strided(self.shape, self.strides, self.offset)


@dataclass(frozen=True)
class OneKernel:
    """The kernel, and how what goes into the program and what comes of it lie in the kernel's tensors."""

    kernel: Kernel
    inputs: tuple[int, ...]
    """For each of the kernel's inputs which of the program's it is."""
    over: tuple[int | None, ...]
    """For each of the kernel's outputs which of the program's inputs it goes to."""
    places: tuple[Place | int, ...]
    """Where the program's results lie; a number says which of its inputs one is."""

    @classmethod
    def of(cls, module: GraphModule) -> OneKernel | None:
        """What a compiled graph is; None where it does anything else as well."""
        nodes = list(module.graph.nodes)
        given = {node: number for number, node in enumerate(n for n in nodes if n.op == "placeholder")}
        calls = [node for node in nodes if isinstance(node.target, Kernel)]
        if len(calls) != 1 or not all(source in given for source in calls[0].all_input_nodes):
            return None
        [call] = calls
        kernel: Kernel = call.target
        to: Any = call.kwargs.get("over") or [None] * kernel.n_outputs
        places = _places(module, kernel, given)
        if places is None:
            return None
        over = tuple(None if node is None else given[node] for node in to)
        return cls(kernel, tuple(given[node] for node in call.args), over, places)


def _places(module: GraphModule, kernel: Kernel, given: dict[Node, int]) -> tuple[Place | int, ...] | None:
    """Where the results lie; None where one is neither an input nor a view of what the kernel gives."""
    outputs = kernel.made()
    values: dict[Node, Tensor] = {}
    for node in module.graph.nodes:
        if node in given or isinstance(node.target, Kernel):
            continue
        if node.op == "output":
            returned: Any = node.args[0] or ()
            returned = [returned] if isinstance(returned, Node) else returned
            found = [given[each] if each in given else _place(values.get(each), outputs) for each in returned]
            return None if None in found else tuple(each for each in found if each is not None)
        if node.target is result:
            number: Any = node.args[1]
            values[node] = outputs[number]
        elif node.op == "call_function" and not writes(node) and all(each in values for each in node.all_input_nodes):
            args: Any = torch.fx.map_arg(node.args, values.__getitem__)
            values[node] = evaluated(node, args, node.kwargs)
        else:
            break
    return None


def _place(value: Any, outputs: list[Tensor]) -> Place | None:
    if not isinstance(value, Tensor):
        return None
    for number, each in enumerate(outputs):
        if value.untyped_storage().data_ptr() == each.untyped_storage().data_ptr():
            return Place(number, tuple(value.shape), value.stride(), int(value.storage_offset()))
    return None
