"""Follows programs that were traced on a device with tensors that have no numbers, as they would run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule, Interpreter
from torch.utils import _pytree as pytree

from shoal.step.compiled.program import Program

Called = dict[Program, Sequence[Tensor]]


@contextmanager
def noted() -> Iterator[Called]:
    """The programs that are run meanwhile, each with inputs of its own."""
    real, found = Program.__call__, Called()

    def call(self: Program, *inputs: Tensor) -> Any:
        found[self] = inputs
        return real(self, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "__call__", call)
        yield found


def followed(program: Program, inputs: Sequence[Tensor], device: torch.device) -> list[str]:
    """Where its results are, as they come of inputs on a GPU in the place of those on this device.

    Raises:
        RuntimeError: where an operation is given tensors of two devices.
    """

    def moved(value: Tensor) -> Tensor:
        place = "cuda" if value.device == device else value.device
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=place)

    module = program.graph(inputs)
    _retarget(module, device)
    with FakeTensorMode():
        for name, value in list(module.named_buffers()):
            setattr(module, name, moved(value))
        found = Interpreter(module).run(*map(moved, inputs))
    return [each.device.type for each in pytree.tree_leaves(found) if isinstance(each, Tensor)]


def _retarget(module: GraphModule, device: torch.device) -> None:
    for node in module.graph.nodes:
        given = node.kwargs.get("device")
        if given is not None and torch.device(given).type == device.type:
            node.kwargs = {**node.kwargs, "device": torch.device("cuda")}
