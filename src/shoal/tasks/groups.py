"""Samples in groups that have nothing in common: each group a row of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.optimizers.squares import rows_of_fits
from shoal.optimizers.squares.problem import Params


class Given(NamedTuple):
    """What the residuals of a formula are made of; a row for each run."""

    columns: Mapping[str, Float[Tensor, "runs samples"]]
    y: Float[Tensor, "runs samples outputs"]
    weight: Float[Tensor, "runs samples *weights"] | None
    member: Bool[Tensor, "runs samples groups"] | None
    fixed: Mapping[str, Float[Tensor, "runs 1"]]
    bounds: tuple[Params, Params] | None

    def apart(self) -> Given:
        """Give each group of each run a row of its own.

        A row has its group's samples first; copies of the first of them, which do not count, fill it up: the formula
        may not be finite at the samples of another group.
        """
        assert self.member is not None
        groups = self.member.shape[-1]
        # A row for each run and group, True where a sample is of it.
        of_rows = self.member.movedim(-1, 1).flatten(0, 1)
        # Stable: the group's samples first, in their own order.
        first = (~of_rows).to(torch.int8).argsort(dim=1, stable=True)
        counts = torch.arange(of_rows.shape[1]) < of_rows.sum(1, keepdim=True)
        places = torch.where(counts, first, first[:, :1])

        def taken(each: Tensor) -> Tensor:
            repeated = each.repeat_interleave(groups, dim=0)
            at = places.view(*places.shape, *[1] * (each.dim() - 2)).expand(-1, -1, *each.shape[2:])
            return repeated.gather(1, at)

        weight = torch.ones_like(self.y[:, :, 0]) if self.weight is None else self.weight
        bounds = None
        if self.bounds is not None:
            bounds = (rows_of_fits(self.bounds[0], groups), rows_of_fits(self.bounds[1], groups))
        return Given(
            {name: taken(column) for name, column in self.columns.items()},
            taken(self.y),
            torch.where(counts.view(*counts.shape, *[1] * (weight.dim() - 2)), taken(weight), 0.0),
            None,
            {name: each.repeat_interleave(groups, dim=0) for name, each in self.fixed.items()},
            bounds,
        )
