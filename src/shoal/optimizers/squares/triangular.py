"""QR decompositions by Householder's reflections (Golub & Van Loan, 2013, 5.2), of one matrix a run.

Matrices are kept by columns, (columns, runs, length): a column of all runs is one block of memory, and each step is
an elementwise operation, or a sum over whole columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.optimizers.squares.problem import summed


class Reflected(NamedTuple):
    """A decomposed matrix: Q as reflections, R, and the reflected further columns."""

    vectors: list[Float[Tensor, "runs length"]]
    scales: list[Float[Tensor, "runs 1"]]
    upper: Float[Tensor, "columns runs columns"]
    """R by columns: `upper[j, :, i]` is its element in row i and column j."""
    rest: Float[Tensor, "others runs length"]

    def reflect(self, column: Tensor) -> Tensor:
        """Q transposed times a further column, of shape (runs, length)."""
        for vector, scale in zip(self.vectors, self.scales, strict=True):
            column = column - vector * (summed(vector * column)[:, None] * scale)
        return column


def decomposed(columns: Tensor, others: Tensor) -> Reflected:
    """Decompose the `columns`, and reflect the `others` with them; both of shape (columns, runs, length)."""
    n = len(columns)
    work = torch.cat([columns, others])
    vectors, scales = [], []
    for k in range(n):
        vector = work[k].clone()
        vector[:, :k] = 0
        size = summed(vector * vector).sqrt()
        pivot = work[k, :, k].clone()
        # By the sign of the pivot: with the other one the two would cancel.
        vector[:, k] = pivot + torch.where(pivot < 0, -size, size)
        # Half of v'v, for v = x + sign(x_k) |x| e_k: the reflection is 1 - v v' / norm.
        norm = size * (size + pivot.abs())
        # A column of zeros is left as it is: that of a parameter held at a bound, or without any effect.
        scale = torch.where(norm > 0, 1 / norm, 0.0)[:, None]
        # Its own column too: the rounding below the diagonal is not read any more.
        part = work[k:]
        work[k:] = part - vector * (summed(vector * part)[..., None] * scale)
        vectors.append(vector)
        scales.append(scale)
    return Reflected(vectors, scales, work[:n, :, :n].clone(), work[n:])


def solved(upper: Float[Tensor, "columns runs columns"], right: Float[Tensor, "runs columns"]) -> Tensor:
    """X of R x = right, by back substitution; 0 where the diagonal is."""
    n = len(upper)
    left = right.clone()
    x = torch.zeros_like(left)
    # All runs at once, row by row: torch's batched solver may order its sums by the number of runs.
    for k in reversed(range(n)):
        diagonal = upper[k, :, k]
        x[:, k] = torch.where(diagonal != 0, left[:, k] / torch.where(diagonal != 0, diagonal, 1.0), 0.0)
        left = left - upper[k] * x[:, k : k + 1]
    return x


def inverse(upper: Float[Tensor, "columns runs columns"]) -> Float[Tensor, "runs columns columns"]:
    """The inverse of R, a row of it in the middle dimension."""
    n, runs = len(upper), upper.shape[1]
    unit = torch.eye(n, dtype=upper.dtype, device=upper.device)
    return torch.stack([solved(upper, unit[k].expand(runs, n)) for k in range(n)], dim=-1)
