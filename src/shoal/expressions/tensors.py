"""Formulas on tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from shoal.expressions.functions import CONSTANTS, FUNCTIONS, OPERATORS
from shoal.expressions.postfix import Apply, Name, Statement

Functions = Mapping[str, Callable[..., Tensor]]


def _maximum(first: Tensor | float, second: Tensor | float) -> Tensor:
    return torch.maximum(*_both(first, second))


def _minimum(first: Tensor | float, second: Tensor | float) -> Tensor:
    return torch.minimum(*_both(first, second))


def _both(first: Tensor | float, second: Tensor | float) -> tuple[Tensor, Tensor]:
    # Torch's maximum takes tensors alone; one of the two is one, or numbers would have been compared.
    like = cast(Tensor, first if isinstance(first, Tensor) else second)
    make = partial(torch.as_tensor, dtype=like.dtype, device=like.device)
    return make(first), make(second)


def _step(x: Tensor) -> Tensor:
    # Of functions that autograd knows, so that its derivative is zero rather than an error.
    return torch.sign(torch.relu(x))


_OWN: dict[str, Callable[..., Tensor]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "neg": operator.neg,
    "max": _maximum,
    "min": _minimum,
    "softplus": functional.softplus,
    "step": _step,
}
TENSORS: Functions = {name: getattr(torch, name) for name in FUNCTIONS if name not in _OWN} | _OWN

_NUMBERS = {**OPERATORS, **FUNCTIONS}


def evaluate(statements: Iterable[Statement], values: Mapping[str, Tensor], functions: Functions = TENSORS) -> Tensor:
    """The value of the last statement, broadcast to the shape of all `values`."""
    known: dict[str, Tensor | float] = {**CONSTANTS, **values}
    result: Tensor | float = 0.0
    for statement in statements:
        result = _run(statement, known, functions)
        if statement.name:
            known[statement.name] = result
    if not values:
        # Nothing says of which type: it is a number on the command line.
        return torch.as_tensor(result, dtype=torch.float64)
    first = next(iter(values.values()))
    tensor = result if isinstance(result, Tensor) else torch.full_like(first, result)
    # By NumPy: torch's own function imports SymPy, which takes half a second.
    return tensor.expand(numpy.broadcast_shapes(*(value.shape for value in values.values())))


def _run(statement: Statement, known: Mapping[str, Tensor | float], functions: Functions) -> Tensor | float:
    stack: list[Tensor | float] = []
    for step in statement.steps:
        if isinstance(step, Apply):
            arguments = stack[-step.arguments :]
            del stack[-step.arguments :]
            # Numbers stay Python numbers: x**2 is then the same operation as in a user's own code.
            numbers = not any(isinstance(argument, Tensor) for argument in arguments)
            stack.append((_NUMBERS if numbers else functions)[step.function](*arguments))
        else:
            stack.append(known[step.name] if isinstance(step, Name) else step.value)
    return stack[0]
