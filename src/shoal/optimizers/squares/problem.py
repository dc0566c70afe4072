"""What is minimised, at the parameters of each run."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Params = Float[Tensor, "runs params"]
OfRuns = Float[Tensor, " runs"]

LANES = 16
"""The number of samples is a multiple of this: vectorised kernels then leave no remainder to another code path."""


class Squared(NamedTuple):
    """The cost of each run, and what it is made of."""

    cost: OfRuns
    """The sum of the squared residuals, or what takes its place."""
    residuals: Float[Tensor, "runs samples"]
    """Half of the cost's derivative by each prediction, over `slope` of the problem: squared residuals are the cost."""
    noise: OfRuns
    """By how much rounding alone may change the cost."""


class Linearized(NamedTuple):
    """The cost of each run, and how its residuals change with the parameters."""

    values: Squared
    jacobian: Float[Tensor, "params runs samples"]


@runtime_checkable
class Problem(Protocol):
    """Residuals of every run as functions of its parameters. The samples are padded to a multiple of `LANES`."""

    @property
    def bounds(self) -> tuple[Params, Params] | None:
        """The least and the greatest value of each parameter, where any has one."""

    @property
    def fits(self) -> int:
        """How many fits with nothing in common a run is made of; each of them has a row."""

    def values(self, params: Params) -> Squared:
        """The cost there."""

    def linearized(self, params: Params) -> Linearized:
        """The cost and the Jacobian there."""

    def select(self, rows: Tensor) -> Problem:
        """The problem of some of the runs."""


def summed(values: Tensor) -> Tensor:
    """The sums over the last dimension: along memory, for across it the order of the terms depends on the neighbors."""
    return values.contiguous().sum(-1)
