"""A step that computes parts again to save memory stacks: each is computed once, and has the same derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from mapped_steps import assert_as_alone, stepped


def without_reentering(net: Any, x: Tensor, t: Tensor) -> Tensor:
    return checkpoint(net, torch.cat([x, t], 1), use_reentrant=False).square().mean()


def reentering(net: Any, x: Tensor, t: Tensor) -> Tensor:
    return checkpoint(net, torch.cat([x, t], 1).requires_grad_(), use_reentrant=True).square().mean()


def in_segments(net: Any, x: Tensor, t: Tensor) -> Tensor:
    return checkpoint_sequential(net, 2, torch.cat([x, t], 1), use_reentrant=False).square().mean()


def elsewhere(net: Any, x: Tensor, t: Tensor) -> Tensor:
    with save_on_cpu():
        return net(torch.cat([x, t], 1)).square().mean()


def packed(net: Any, x: Tensor, t: Tensor) -> Tensor:
    with saved_tensors_hooks(lambda each: each.detach().clone(), lambda each: each):
        return net(torch.cat([x, t], 1)).square().mean()


@pytest.mark.parametrize(
    "of", [without_reentering, reentering, in_segments, elsewhere, packed], ids=lambda of: of.__name__
)
def test_parts_computed_again_give_each_run_its_own_gradient(of: Callable[..., Tensor]) -> None:
    mapped, found, modules, batch = stepped(of)

    assert mapped.refused is None
    assert_as_alone(found, modules, batch)


def test_a_trace_holds_such_a_part_once() -> None:
    mapped, _, _, _ = stepped(without_reentering)
    [trace] = mapped._traces

    assert trace.program.text.count("aten.tanh.default") == 1
