"""Functions with a derivative written by hand in a step that stacks: each run has the gradient that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function, grad
from torch.autograd.function import once_differentiable

from derivatives import Reversal, Square
from mapped_steps import assert_as_alone, stepped
from shoal.step.unfit import CannotStackError


class Spike(Function):
    """A step, with the slope of a smooth one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float = 5.0) -> Tensor:
        ctx.x, ctx.slope = x, slope
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] / (ctx.slope * ctx.x.abs() + 1) ** 2, None


class Rectified(Function):
    """A ReLU that puts zeros into its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        found = grads[0].clone()
        found[x < 0] = 0
        return found


class InPlace(Rectified):
    """One that writes over what it is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x.clamp_(min=-0.1))
        ctx.save_for_backward(x)
        return x


class Product(Function):
    """A product, and where it is largest."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Any:
        ctx.save_for_backward(x, weight)
        found = x @ weight.t()
        place = found.argmax(-1)
        ctx.mark_non_differentiable(place)
        return found, place

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x = grads[0] @ weight if ctx.needs_input_grad[0] else None
        return of_x, grads[0].t() @ x if ctx.needs_input_grad[1] else None


class Tripled(Function):
    """Doubles, and gives three times the gradient: in functorch's form, but for a word on mapping."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 3 * grads[0]


kept = Spike.apply


def on_outputs(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, x, t: function(net(torch.cat([x, t], 1))).square().mean()


def product(net: Any, x: Tensor, t: Tensor) -> Tensor:
    found, place = Product.apply(net[:3](torch.cat([x, t], 1)), net[3].weight)  # type: ignore[no-untyped-call]
    return found.square().mean() + place.sum() + net[3].bias.sum()


CASES = {
    "a gradient reversed": on_outputs(lambda y: Reversal.apply(y, 0.3)),
    "a surrogate gradient": on_outputs(lambda y: Spike.apply(y) - 0.3),
    "by a name that was kept": on_outputs(lambda y: kept(y, 2.0) - 0.3),
    "zeros put into a gradient": on_outputs(Rectified.apply),
    "written in place": on_outputs(lambda y: InPlace.apply(y * 1)),
    "several results, differentiable once": product,
    "in functorch's form": on_outputs(Tripled.apply),
    "a square": on_outputs(Square.apply),
}


@pytest.mark.parametrize("name", CASES)
def test_functions_with_own_derivatives_give_each_run_its_own_gradient(name: str) -> None:
    mapped, found, modules, batch = stepped(CASES[name])

    assert mapped.refused is None
    assert_as_alone(found, modules, batch)


def test_backward_hooks_of_layers_are_called_with_each_runs_gradient() -> None:
    _, found, modules, batch = stepped(
        on_outputs(torch.tanh),
        lambda net: net[2].register_full_backward_hook(lambda _, before, __: (before[0] / 2,)),
    )

    assert_as_alone(found, modules, batch)


def test_torch_is_as_before_after_such_a_step() -> None:
    stepped(CASES["a gradient reversed"])

    assert torch.autograd.function.torch is torch  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda x: Reversal.apply(x, 1.0))(torch.ones(()))


def both(net: Any, x: Tensor, t: Tensor) -> Tensor:
    x = x.requires_grad_()
    u = Reversal.apply(net(torch.cat([x, t], 1)), 0.3)  # type: ignore[no-untyped-call]
    return grad(u.sum(), x, create_graph=True)[0].square().mean()


def test_a_derivative_through_one_within_the_step_is_refused() -> None:
    with pytest.raises(CannotStackError, match="and has an autograd"):
        stepped(both)


def looked_at(net: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    return net(torch.cat([x, t], 1)).square().mean()


elsewhere = (torch.ones(3, requires_grad=True) * 2).sum()
"""A result that a file keeps, which no step looks at."""


def test_tensors_that_a_file_keeps_are_no_part_of_a_trace() -> None:
    mapped, found, modules, batch = stepped(looked_at)
    [trace] = mapped._traces

    assert "constant" not in trace.program.text
    assert_as_alone(found, modules, batch)
