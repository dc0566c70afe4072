"""A compiled loop as an operation on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from shoal.engines.vectorized.compiled.groups import Group
from shoal.engines.vectorized.compiled.source import Loop


class Kernel:
    """A group of operations in one loop, for inputs that all have the shapes and strides it was made for."""

    def __init__(self, group: Group, loop: Loop, values: Mapping[Node, Tensor], function: Any) -> None:
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
        """Whether it gives these values to the bit; what is not a number may be any."""
        found = self(*(values[node] for node in self.group.inputs))
        expected = (values[node] for node in self.group.outputs)
        return all(_same(one, other) for one, other in zip(found, expected, strict=True))


def result(outputs: Sequence[Tensor], number: int) -> Tensor:
    """One of a kernel's outputs: memory of its own, unlike a part of what torch's operations give."""
    return outputs[number]


_BITS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bool: torch.bool}


def _same(one: Tensor, other: Tensor) -> bool:
    bits = _BITS[one.dtype]
    return bool(((one.view(bits) == other.view(bits)) | (one.isnan() & other.isnan())).all())
