"""A compiled loop as an operation on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.fx import Node

from shoal.engines.step.compiled.kernel_groups import KernelGroup
from shoal.engines.step.compiled.source import Loop
from shoal.engines.step.exact.rows import same_bits
from shoal.engines.step.graph import evaluated


class Kernel:
    """A group of operations in one loop, for inputs that all have the shapes and strides it was made for."""

    pointwise: ClassVar[bool] = True
    """Whether an output may lie where an input does: all that an element needs is read before any of it is written."""

    def __init__(self, group: KernelGroup, loop: Loop, values: Mapping[Node, Tensor], function: Any) -> None:
        # fx writes the graph's code with the name of each target; the log has it, too.
        self.__name__ = f"{'_'.join(str(node.name) for node in group.nodes)}"
        self.group = group
        self._function = function
        self._numbers = (ctypes.c_long * max(len(loop.numbers), 1))(*loop.numbers)
        self._pointers = (ctypes.c_void_p * (len(group.inputs) + len(group.outputs)))()
        self._made = [(value.shape, value.stride(), value.dtype) for value in (values[node] for node in group.outputs)]
        self.n_outputs = len(self._made)
        self._nowhere = [None] * self.n_outputs

    def __call__(self, *inputs: Tensor, over: Sequence[Tensor | None] = ()) -> list[Tensor]:
        """The group's outputs; `over` says for each whether it goes into memory of this tensor."""
        outputs = [
            torch.empty_strided(shape, stride, dtype=dtype) if place is None else place
            for (shape, stride, dtype), place in zip(self._made, over or self._nowhere, strict=True)
        ]
        self._pointers[:] = [tensor.data_ptr() for tensor in (*inputs, *outputs)]
        self._function(self._pointers, self._numbers)
        return outputs

    def agrees(self, values: Mapping[Node, Tensor]) -> bool:
        """Whether it gives torch's numbers to the bit, for these inputs and for ones in which every special case is.

        What is not a number may be any.
        """
        inputs = [values[node] for node in self.group.inputs]
        # A seed for each input: with one for all, an infinity would meet only infinities, and never a zero.
        special = [_special(value, seed) for seed, value in enumerate(inputs)]
        return all(
            same_bits(one, other)
            for given in (inputs, special)
            for one, other in zip(self(*given), _by_torch(self.group, given), strict=True)
        )


def result(outputs: Sequence[Tensor], number: int) -> Tensor:
    """One of a kernel's outputs: memory of its own, unlike a part of what torch's operations give."""
    return outputs[number]


def _by_torch(group: KernelGroup, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The group's outputs as torch's operations give them."""
    known = dict(zip(group.inputs, inputs, strict=True))
    for node in group.nodes:
        args: Any = torch.fx.map_arg(node.args, known.__getitem__)
        kwargs: Any = torch.fx.map_arg(node.kwargs, known.__getitem__)
        known[node] = evaluated(node, args, kwargs)
    return [known[node] for node in group.outputs]


_SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, -1e-40, 1e30, -1e30, torch.inf, -torch.inf, torch.nan)


def _special(like: Tensor, seed: int) -> Tensor:
    """Numbers laid out as those given, every second one a special case; another choice for every seed."""
    generator = torch.Generator().manual_seed(seed)
    # Where the stride is zero there is one number for all: two that differ would have no place.
    shape = [size if stride else 1 for size, stride in zip(like.shape, like.stride(), strict=True)]
    special = torch.tensor(_SPECIAL)[torch.randint(len(_SPECIAL), shape, generator=generator)]
    usual = torch.randn(shape, generator=generator)
    chosen = torch.where(torch.rand(shape, generator=generator) < 0.5, special, usual)
    return torch.empty_strided(shape, like.stride(), dtype=like.dtype).copy_(chosen).expand(like.shape)
