"""Functions with derivatives written by hand, right and wrong, and what a check finds."""

from __future__ import annotations

import torch

from shoal.errors import ExitCode
from shoal.gradcheck import check


class Square(torch.autograd.Function):
    """x squared."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class WrongSquare(Square):
    """Its backward forgets the 2."""

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return x * gradient


class WrongCube(torch.autograd.Function):
    """x cubed; its backward has a 2 for the 3."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x**2 * gradient


class Reversal(torch.autograd.Function):
    """Gives what it is given, and turns the gradient around."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def found(of: str, **settings: object) -> dict[str, float]:
    result = check(of, **settings)
    assert result.agrees
    assert result.exit_code == ExitCode.OK
    return {each.label: each.autograd for each in result.derivatives}
