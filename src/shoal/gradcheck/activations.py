"""Activation functions with their derivatives, for a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from shoal.errors import ConfigError, suggestion
from shoal.models import ACTIVATIONS

# About the third root of a float64's rounding, where a central difference has the least error.
_STEP = 1e-5


@dataclass(frozen=True)
class ActivationCurve:
    """An activation function on an interval."""

    name: str
    x: tuple[float, ...]
    value: tuple[float, ...]
    derivative: tuple[float, ...]
    """By autograd."""
    disagreement: float
    """Largest difference between that and central differences, kinks left out."""


def activation_curves(
    names: Sequence[str] = ("relu", "sigmoid", "tanh"), *, interval: tuple[float, float] = (-4.0, 4.0), n: int = 401
) -> tuple[ActivationCurve, ...]:
    """Each named activation and its derivative at `n` points of the interval, in float64.

    Raises:
        ConfigError: where there is no activation of a name.
    """
    for name in names:
        if name not in ACTIVATIONS:
            raise ConfigError("activations", name, "no such activation", hint=suggestion(name, ACTIVATIONS))
    return tuple(_curve(name, torch.linspace(*interval, n, dtype=torch.float64)) for name in names)


def _curve(name: str, points: torch.Tensor) -> ActivationCurve:
    activation = ACTIVATIONS[name]()
    x = points.clone().requires_grad_()
    value = activation(x)
    (derivative,) = torch.autograd.grad(value.sum(), x)
    with torch.no_grad():
        right = (activation(points + _STEP) - activation(points)) / _STEP
        left = (activation(points) - activation(points - _STEP)) / _STEP
    # At a kink both sides differ by far more than the step times a curvature.
    smooth = (right - left).abs() < 1e-3
    disagreement = (derivative - (left + right) / 2)[smooth].abs().max().item()
    return ActivationCurve(
        name,
        x=tuple(points.tolist()),
        value=tuple(value.tolist()),
        derivative=tuple(derivative.tolist()),
        disagreement=disagreement,
    )
