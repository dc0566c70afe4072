"""Gradient clipping with limits of its own for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.optimizers.rule import Column, Matrix


@dataclass(frozen=True)
class GradientLimits:
    """The largest norm and the largest value of each run's gradient; infinite where it has no limit."""

    norm: Column
    value: Column

    @classmethod
    def of(cls, norms: Sequence[float | None], values: Sequence[float | None]) -> GradientLimits:
        """Limits from numbers; None is no limit."""

        def column(limits: Sequence[float | None]) -> Tensor:
            return torch.tensor([[torch.inf if limit is None else limit] for limit in limits], dtype=torch.float64)

        return cls(column(norms), column(values))

    @property
    def any(self) -> bool:
        """Whether any run has a limit."""
        return bool(self.norm.isfinite().any() or self.value.isfinite().any())

    def select(self, rows: Tensor) -> GradientLimits:
        """The limits of some of the runs."""
        return GradientLimits(self.norm[rows], self.value[rows])


def clip(grads: Matrix, norms: Float[Tensor, " runs"], norm: Column, value: Column) -> None:
    """Clip in place to limits; `norms` are the gradients' own. A run without a limit keeps its gradient to the bit.

    The factor is that of `torch.nn.utils.clip_grad_norm_`.
    """
    if norm.isfinite().any():
        limit = norm.to(grads.dtype)
        factor = (limit / (norms[:, None] + 1e-6)).clamp(max=1.0)
        grads.mul_(torch.where(limit.isfinite(), factor, torch.ones_like(factor)))
    if value.isfinite().any():
        limit = value.to(grads.dtype)
        torch.minimum(torch.maximum(grads, -limit, out=grads), limit, out=grads)


def row_norms(grads: Matrix) -> Float[Tensor, " runs"]:
    """The Euclidean norm of each run's gradient."""
    norms: Tensor = torch.linalg.vector_norm(grads, dim=1)
    return norms
