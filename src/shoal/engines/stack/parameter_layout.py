"""Where each parameter lies in a run's row of the matrix that holds a stack's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

ALIGNMENT = 32
"""Elements that every parameter's place is a multiple of: no kernel then meets a row at another alignment, or ends it
in another remainder, than the same row in another stack."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a run's parameters, in the order of their places in its row."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, params: Mapping[str, Tensor]) -> Layout:
        """The layout of parameters by name."""
        return cls(tuple(params), tuple(value.shape for value in params.values()))

    @property
    def places(self) -> list[tuple[int, int]]:
        """First element of each parameter, and how many it has."""
        sizes = [prod(shape) for shape in self.shapes]
        # Rounded up to the next multiple.
        padded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
        return list(zip(accumulate([0, *padded[:-1]]), sizes, strict=True))

    @property
    def width(self) -> int:
        """Elements of a row, gaps included; gaps stay zero."""
        first, size = self.places[-1]
        return -(-(first + size) // ALIGNMENT) * ALIGNMENT

    def columns(self, numbers: Iterable[int] | None = None) -> Int[Tensor, " elements"]:
        """The columns of the matrix that hold parameters, without gaps: all of these, or those of some numbers."""
        places = self.places
        found = places if numbers is None else [places[number] for number in numbers]
        return torch.cat([torch.arange(first, first + size) for first, size in found])

    def views(self, matrix: Float[Tensor, "runs params"]) -> list[Tensor]:
        """Each parameter of all runs, of shape (runs, *shape), as a view of the matrix."""
        runs = matrix.shape[0]
        return [
            matrix[:, first : first + size].view(runs, *shape)
            for (first, size), shape in zip(self.places, self.shapes, strict=True)
        ]

    def parts(self, row: Float[Tensor, " params"]) -> list[Tensor]:
        """Each parameter of one run, as a view of its row."""
        return [view[0] for view in self.views(row[None])]

    def matrix(
        self, runs: Sequence[Sequence[Tensor]], device: torch.device | None = None
    ) -> Float[Tensor, "runs params"]:
        """A new matrix from the parameters of each run, where the first ones are unless a device is given."""
        first = runs[0][0]
        # Not `empty`: the gaps take part in whatever is done to whole rows, such as their norms.
        matrix = torch.zeros(len(runs), self.width, dtype=first.dtype, device=device or first.device)
        for row, values in zip(matrix, runs, strict=True):
            for place, value in zip(self.parts(row), values, strict=True):
                place.copy_(value.detach())
        return matrix
