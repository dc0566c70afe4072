"""Functions with a derivative written by hand (`torch.autograd.Function`) within a step that is mapped over runs.

functorch wants them in a form of their own, with `setup_context`, to go through several transforms. A step goes through
one gradient alone, and there autograd takes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import function as functions

from shoal.step.per_run import PerRun

NEEDED = ("setup_context", "generate_vmap_rule")
"""In what torch says where a step that is mapped has such a function."""


class _Asked:
    """`torch`, as the module of `Function` asks it: no transform is active, and no derivative is to be taken again.

    `Function.apply` itself is nothing to replace: a user's module may have kept one, as `spike = Spike.apply`.
    """

    _C = SimpleNamespace(_are_functorch_transforms_active=lambda: False)

    @staticmethod
    def is_grad_enabled() -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


_backward = functions.BackwardCFunction.apply


def _backward_per_run(self: functions.BackwardCFunction, *args: Any) -> Any:
    with PerRun():
        return _backward(self, *args)  # type: ignore[no-untyped-call]


@contextmanager
def own_derivatives() -> Iterator[None]:
    """Has autograd take each function as it is written."""
    with (
        enable_single_level_autograd_function(),
        patch.object(functions, "torch", _Asked()),
        patch.object(functions.BackwardCFunction, "apply", _backward_per_run),
    ):
        yield
