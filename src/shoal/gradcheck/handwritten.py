"""A network with a backward that is written by hand, and the same with a mistake in it: what gradcheck is shown on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Square(torch.autograd.Function):
    """x^2, its backward by hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        derivative: Tensor = 2 * x * gradient
        return derivative


class WrongSquare(Square):
    """x^2, its backward without the 2."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        derivative: Tensor = x * gradient
        return derivative


def square(x: Tensor) -> Tensor:
    """x^2 through `Square`."""
    result: Tensor = Square.apply(x)  # type: ignore[no-untyped-call]
    return result


class Squares(nn.Module):
    """The activation x^2, right or wrong."""

    def __init__(self, function: type[Square]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function.apply(x)  # type: ignore[no-untyped-call]
        return result


class SquareNetwork(nn.Sequential):
    """Inputs -> hidden squares -> outputs."""

    def __init__(self, inputs: int, outputs: int, hidden: int = 8, wrong: bool = False) -> None:
        squares = Squares(WrongSquare if wrong else Square)
        super().__init__(nn.Linear(inputs, hidden), squares, nn.Linear(hidden, outputs))
