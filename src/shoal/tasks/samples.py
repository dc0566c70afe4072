"""Samples that are written down in the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float
from torch import Tensor

from shoal.errors import ConfigError
from shoal.tasks.data import Data, Split
from shoal.tasks.task import Task

Row = Annotated[tuple[float, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class Samples(Task):
    """Given inputs and targets; all of them are for training."""

    x: Annotated[tuple[float | Row, ...], MinLen(1)]
    """Inputs: a list for each sample, or a number where there is one input."""
    y: Annotated[tuple[float | Row, ...], MinLen(1)]
    """Targets, in the same way."""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ConfigError("y", self.y, f"has {len(self.y)} targets for the {len(self.x)} samples in task.x")
        for name, rows in (("x", self.x), ("y", self.y)):
            # Before torch says it of a list, without the setting's name.
            if len({_width(row) for row in rows}) > 1:
                raise ConfigError(name, rows, "must have as many numbers for each sample")
        self.fits(len(self.x))

    @property
    def validates(self) -> bool:
        return False

    @property
    def inputs(self) -> int:
        return _width(self.x[0])

    @property
    def outputs(self) -> int:
        return _width(self.y[0])

    def data(self) -> Data:
        return Data(
            Split(_table(self.x), _table(self.y)),
            None,
            features=_named("x", self.inputs),
            targets=_named("y", self.outputs),
        )


def _width(row: float | Row) -> int:
    return len(row) if isinstance(row, tuple) else 1


def _table(rows: tuple[float | Row, ...]) -> Float[Tensor, "samples columns"]:
    return torch.tensor([row if isinstance(row, tuple) else (row,) for row in rows])


def _named(name: str, n: int) -> tuple[str, ...]:
    return (name,) if n == 1 else tuple(f"{name}{i + 1}" for i in range(n))
