"""Gradient clipping with limits of its own for each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.optimizers.rule import Column, Matrix

Clipping = Callable[[Matrix, Float[Tensor, " runs"], Column], None]
"""Given gradients, their norms and the limits of the runs, all where the gradients are."""


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

    def clippings(self, grads: Matrix) -> list[tuple[str, Clipping, Column]]:
        """What clips gradients like these, by what it is called, with the limits that it is given."""
        # Both may be there: of the runs of a stack some are clipped by norm and some by value.
        kinds = (("norm", clip_norm, self.norm), ("values", clip_values, self.value))
        return [(name, by, limits.to(grads)) for name, by, limits in kinds if limits.isfinite().any()]

    def select(self, rows: Tensor) -> GradientLimits:
        """The limits of some of the runs."""
        return GradientLimits(self.norm[rows], self.value[rows])


def clip_norm(grads: Matrix, norms: Float[Tensor, " runs"], limit: Column) -> None:
    """Clip in place to norms; `norms` are the gradients' own. A run without a limit keeps its gradient to the bit.

    The factor is that of `torch.nn.utils.clip_grad_norm_`.
    """
    factor = (limit / (norms[:, None] + 1e-6)).clamp(max=1.0)
    # Not left to the clamp: an infinite limit over an infinite norm is nan.
    grads.mul_(torch.where(limit.isfinite(), factor, torch.ones_like(factor)))


def clip_values(grads: Matrix, norms: Float[Tensor, " runs"], limit: Column) -> None:
    """Clip every number in place; one of a run without a limit stays as it is."""
    del norms
    torch.minimum(torch.maximum(grads, -limit, out=grads), limit, out=grads)


def row_norms(grads: Matrix) -> Float[Tensor, " runs"]:
    """The Euclidean norm of each run's gradient."""
    norms: Tensor = torch.linalg.vector_norm(grads, dim=1)
    return norms
