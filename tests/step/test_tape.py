"""A step that asks autograd for derivatives stacks: each run has those that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from mapped_steps import assert_as_alone, stepped
from shoal.step.unfit import CannotStackError


def first(net: Any, x: Tensor, t: Tensor) -> Tensor:
    x = x.requires_grad_()
    return grad(net(torch.cat([x, t], 1)).sum(), x, create_graph=True)[0].square().mean()


def second(net: Any, x: Tensor, t: Tensor) -> Tensor:
    x.requires_grad = True
    u = net(torch.cat([x, t], dim=1))[:, :1]
    du = grad(u, x, torch.ones_like(u), create_graph=True, retain_graph=True)[0]
    ddu = grad(du, x, grad_outputs=torch.ones_like(du), create_graph=True)[0]
    return (ddu + u * du).square().mean()


def third_and_mixed(net: Any, x: Tensor, t: Tensor) -> Tensor:
    x, t = x.clone().requires_grad_(True), t.clone().requires_grad_(True)
    u = net(torch.cat([x, t], 1)).sum()
    u_x, u_t = grad(u, (x, t), create_graph=True)
    (u_xt,) = grad(u_x.sum(), t, create_graph=True)
    (u_xtx,) = grad(u_xt.sum(), x, create_graph=True)
    return (u_t + u_x * u_xt - u_xtx).square().mean()


def divergence(net: Any, x: Tensor, t: Tensor) -> Tensor:
    z = torch.cat([x, t], 1).requires_grad_()
    u = net(z)
    return sum(grad(u[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2)).square().mean()


def penalized(net: Any, x: Tensor, t: Tensor) -> Tensor:
    z = torch.cat([x, t], 1).requires_grad_(True)
    norms = grad(net(z).sum(), z, create_graph=True, retain_graph=True, only_inputs=True)[0].norm(2, dim=1)
    return ((norms - 1) ** 2).mean() + net(z).mean()


def of_weights(net: Any, x: Tensor, t: Tensor) -> Tensor:
    one, other = (net(torch.cat([x, t], 1))[:, i].square().mean() for i in range(2))
    last = net[3].weight
    sizes = [grad(each, last, create_graph=True)[0].norm() for each in (one, other)]
    return one + other + (sizes[0] - sizes[1]).abs()


def balanced(net: Any, x: Tensor, t: Tensor) -> Tensor:
    one, other = (net(torch.cat([x, t], 1))[:, i].square().mean() for i in range(2))
    found = [grad(each, list(net.parameters()), retain_graph=True) for each in (one, other)]
    sizes = [torch.cat([each.flatten() for each in grads]).norm() for grads in found]
    return one + (sizes[0] / sizes[1]).detach() * other


def partly_unused(net: Any, x: Tensor, t: Tensor) -> Tensor:
    x, t = x.requires_grad_(), t.requires_grad_()
    with torch.no_grad():
        fixed = net(torch.cat([x, t], 1)).sum(1, keepdim=True)
    u = (x * fixed + net(torch.cat([x, x.detach()], 1))).sum()
    found = grad(u, (x, t), create_graph=True, allow_unused=True)
    zero = grad(u, (x, t), create_graph=True, materialize_grads=True)[1]
    assert found[1] is None
    return found[0].square().mean() + zero.sum()


def in_place(net: Any, x: Tensor, t: Tensor) -> Tensor:
    z = torch.cat([x, t], 1).requires_grad_()
    u = nn.functional.leaky_relu(net[:2](z), 0.2, inplace=True)
    u = torch.tanh_(u * (1 + u.detach())) * 2
    u += 1
    u = nn.functional.dropout(u, 0.5, training=False)
    return grad(u.sum(), z, create_graph=True)[0].square().mean() + u.mean()


CASES = [in_place, first, second, third_and_mixed, divergence, penalized, of_weights, balanced, partly_unused]


@pytest.mark.parametrize("of", CASES, ids=lambda of: of.__name__)
def test_derivatives_within_a_step_are_those_of_each_run_alone(of: Callable[..., Tensor]) -> None:
    mapped, found, modules, batch = stepped(of)

    assert mapped.refused is None
    assert_as_alone(found, modules, batch)


def test_what_the_derivative_computes_again_a_trace_computes_once() -> None:
    mapped, _, _, _ = stepped(second)
    [trace] = mapped._traces

    assert trace.program.text.count("aten.tanh.default") == 1


def written(net: Any, x: Tensor, t: Tensor) -> Tensor:
    z = torch.cat([x, t], 1).requires_grad_()
    u = torch.zeros(len(z), 2, dtype=z.dtype) + x.detach()
    u[:, :] = net(z)
    return grad(u.sum(), z, create_graph=True)[0].square().mean()


def test_a_derivative_of_what_was_written_to_is_refused_with_a_way_out() -> None:
    with pytest.raises(CannotStackError, match="something that it writes to a tensor"):
        stepped(written)


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (lambda net, x, t: grad(net(torch.cat([x, t], 1)), x.requires_grad_())[0].sum(), "only for scalar outputs"),
        (lambda net, x, t: grad(net(torch.cat([x, x], 1)).sum(), t.requires_grad_())[0].sum(), "have been used"),
    ],
)
def test_what_autograd_refuses_alone_is_refused_in_its_words(of: Callable[..., Tensor], says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        stepped(of)
