"""Runs that are made of several fits with nothing in common: the numbers of a run, and each fit's by itself."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def rows_of_fits(columns: Float[Tensor, "runs params"], fits: int) -> Float[Tensor, "fits own"]:
    """A row for each fit, of columns of runs in which each parameter's fits stand side by side."""
    runs, n = columns.shape
    return columns.reshape(runs, n // fits, fits).transpose(1, 2).reshape(runs * fits, n // fits)


def columns_of_runs(rows: Float[Tensor, "fits own"], fits: int) -> Float[Tensor, "runs params"]:
    """The inverse of `rows_of_fits`."""
    n, own = rows.shape
    return rows.reshape(n // fits, fits, own).transpose(1, 2).reshape(n // fits, own * fits)
