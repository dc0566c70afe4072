"""Several graphs as one: the mean of what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shoal.errors import UsageError
from shoal.loaded.export.whole import Signature, Whole


class AveragedGraphs(nn.Module):
    """Graphs that take the same; of classes it gives the one whose mean probability is the greatest."""

    def __init__(self, wholes: Sequence[Whole]) -> None:
        super().__init__()
        self.wholes = nn.ModuleList(wholes)
        self.outputs = wholes[0].outputs
        self.classifies = bool(wholes[0].takes.classes)

    def forward(self, rows: Any) -> dict[str, Tensor]:
        """Predictions by the names of the outputs."""
        found = [whole(rows) for whole in self.wholes]
        last = self.outputs[-1]
        mean = torch.stack([each[last] for each in found]).mean(dim=0)
        return {self.outputs[0]: mean.argmax(dim=1), last: mean} if self.classifies else {last: mean}


def alike(found: Sequence[Signature]) -> Signature:
    """What all of them take and give, whatever was fitted to the columns of each.

    Raises:
        UsageError: where that differs: a run may not know a category that another knows.
    """
    first, *others = found
    for other in others:
        for mine, theirs in zip(first.fields, other.fields, strict=True):
            if mine.codes != theirs.codes:
                raise UsageError(f"the runs do not know the same categories of {mine.column}: they make no one graph")
        if (first.numbers, first.outputs, first.matrix) != (other.numbers, other.outputs, other.matrix):
            raise UsageError("the runs take different types of numbers: they make no one graph")
    return first
