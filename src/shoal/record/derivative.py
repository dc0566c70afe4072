"""The slope of a fitted curve beside the slope of the true function, both by autograd."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.names import DERIVATIVE
from shoal.tasks import Data, Supervised, Task

N_POINTS = 400
"""Points between the smallest and the largest input of the training samples."""


def has_derivative(task: Task) -> bool:
    """Whether the task is a curve whose true function is known."""
    return task.inputs == 1 and task.outputs == 1 and task.truth(torch.ones(1, 1)) is not None


def grid(data: Data) -> Float[Tensor, "points 1"]:
    """Points all over the training samples, in their own units."""
    x = data.of_inputs.in_own_units(data.train.x)
    return torch.linspace(float(x.min()), float(x.max()), N_POINTS)[:, None]


def slopes(module: Supervised, data: Data) -> tuple[Tensor, Tensor] | None:
    """Slope of the prediction and of the true function at each point of `grid`; None where no truth is known."""
    if not data.is_curve or not has_derivative(module.task):
        return None
    x, parameter = grid(data), next(module.model.parameters())
    training = module.training
    module.eval()
    with torch.enable_grad():
        predicted = _slope(
            lambda x: data.of_targets.in_own_units(module.model(data.of_inputs.standard(x))), x.to(parameter)
        )
        true = _slope(module.task.truth, x.double())
    module.train(training)
    return predicted, true


def derivative_rmse(module: Supervised, data: Data) -> dict[str, float]:
    """Root mean squared difference of the two slopes; nothing where no truth is known."""
    found = slopes(module, data)
    if found is None:
        return {}
    predicted, true = found
    return {DERIVATIVE: (predicted.double() - true.double()).square().mean().sqrt().item()}


def _slope(function: object, x: Tensor) -> Tensor:
    """The derivative of each value of `function` by its own input."""
    assert callable(function)
    x = x.detach().clone().requires_grad_()
    values: Tensor = function(x)
    # A function that is constant: autograd refuses what depends on no input.
    if not values.requires_grad:
        return torch.zeros(len(x))
    # Of the sum: as no value depends on another's input, its gradient has each slope by itself.
    (slope,) = torch.autograd.grad(values.sum(), x, materialize_grads=True)  # zeros where the input is not looked at
    return slope.detach().to("cpu")[:, 0]
