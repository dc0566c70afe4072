"""The toy function: y = sin(x) x^2 + noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.tasks.curve import Curve
from shoal.tasks.task import Domain


@dataclass(frozen=True, kw_only=True)
class SinX2(Curve):
    """y = sin(x) x^2 + noise."""

    domain: Domain = (-3.0, 3.0)
    """Interval the inputs are drawn from."""

    def truth(self, x: Float[Tensor, "samples features"]) -> Float[Tensor, "samples outputs"]:
        return torch.sin(x) * x**2
