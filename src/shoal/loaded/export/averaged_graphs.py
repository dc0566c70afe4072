"""Several graphs as one: the mean of what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shoal.errors import UsageError
from shoal.loaded.export.whole import Signature


class AveragedGraphs(nn.Module):
    """Graphs that take and give the same; of classes it gives the one whose mean probability is the greatest."""

    def __init__(self, wholes: Sequence[nn.Module], takes: Signature) -> None:
        super().__init__()
        self.wholes = nn.ModuleList(wholes)
        self.outputs = takes.outputs
        self.classifies = bool(takes.classes)

    def forward(self, rows: Any) -> dict[str, Tensor]:
        """Predictions by the names of the outputs."""
        found = [whole(rows) for whole in self.wholes]
        numbers = self.outputs[1:] if self.classifies else self.outputs
        means = {name: torch.stack([each[name] for each in found]).mean(dim=0) for name in numbers}
        return {self.outputs[0]: means[numbers[0]].argmax(dim=1), **means} if self.classifies else means


def alike(found: Sequence[Signature]) -> Signature:
    """What all of them take and give, whatever was fitted to the columns of each.

    Raises:
        UsageError: where that differs: a run may not know a category that another knows.
    """
    first, *others = found
    for other in others:
        for mine, theirs in zip(first.fields, other.fields, strict=True):
            # Of a category that some runs have not seen they have no mean.
            if mine.codes != theirs.codes:
                raise UsageError(f"the runs do not know the same categories of {mine.column}: they make no one graph")
        if (first.numbers, first.outputs, first.matrix) != (other.numbers, other.outputs, other.matrix):
            raise UsageError("the runs take different types of numbers: they make no one graph")
    return first
