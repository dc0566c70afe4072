"""Measures of whole validations in a stack: each run's task is given all outputs of its run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from shoal.tasks import Task
from shoal.tasks.measures import measured


class StackMeasures:
    """Measures the outputs of every row of a stack: together, unless a task has measures of its own."""

    def __init__(self, tasks: Sequence[Task], targets: Sequence[Num[Tensor, "runs ..."]]) -> None:
        """The task of each row, and the targets of each validation batch."""
        self.tasks = tasks
        self.targets = torch.cat(list(targets), dim=1)
        # Where no class has measures of its own, one computation is for all rows.
        self._usual = all(type(task).metrics is Task.metrics for task in tasks)
        self._units = [task.unit for task in tasks] if self._usual else []

    def of(self, outputs: Float[Tensor, "runs samples ..."]) -> list[Mapping[str, float]]:
        """The measures of each row, by name."""
        if not self._usual:
            every = zip(self.tasks, outputs, self.targets, strict=True)
            return [task.metrics(found, target) for task, found, target in every]
        columns = measured(outputs, self.targets, self._units)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
