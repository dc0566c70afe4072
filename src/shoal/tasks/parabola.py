"""The parabola: y = x^2 + noise."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from shoal.tasks.curve import Curve


@dataclass(frozen=True, kw_only=True)
class Parabola(Curve):
    """y = x^2 + noise."""

    def truth(self, x: Float[Tensor, "samples features"]) -> Float[Tensor, "samples outputs"]:
        return x**2
