"""Numbers of an epoch, of every run of a stack, from what its batches logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shoal.engines.returned import added
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.vectorized.running import Running
from shoal.step.logged import WEIGHT, Entry, Stage, Total


@dataclass(frozen=True)
class EpochMeans:
    """What the batches of an epoch have come to."""

    values: dict[str, list[float]]
    """The numbers by their names, a value for each row."""
    totals: dict[str, Total]
    live: Mapping[int, int]
    """The rows of the runs that are left."""

    @property
    def sums(self) -> dict[int, dict[str, list[Any]]]:
        """Of each run what its numbers are made of: an epoch that is left goes on from there."""
        return {
            run: {name: [total.value[row].clone(), total.weight_of(row)] for name, total in self.totals.items()}
            for run, row in self.live.items()
        }


def epoch_means(
    running: Running,
    stage: Stage,
    history: EpochHistory,
    begun: Mapping[int, Mapping[str, Any]] | None = None,
) -> EpochMeans:
    """The numbers of the batches in `history`, not all of which logged the same.

    `begun` is what the batches that were done before have come to.
    """
    found = EpochMeans({}, {}, running.live)
    every, entries = history.logged, running.steps.captured[stage].entries
    for name in _returned(running, stage):
        every = [{**logged, name: loss} for logged, loss in zip(every, history.losses, strict=True)]
        entries = {**entries, name: Entry("mean")}
    for name, entry in entries.items():
        total = _begun(running, begun or {}, name, entry)
        having = [(logged, size) for logged, size in zip(every, history.sizes, strict=True) if name in logged]
        if running.members[0].job.own_module and any(name in logged for _, _, logged in history.repeated):
            total = _with_repeated(total, name, entry, history)
        elif having and not name.endswith(WEIGHT):
            weights = [_weight(logged, name, size) for logged, size in having]
            total = total.and_(entry, torch.stack([logged[name] for logged, _ in having]).double(), weights)
        if any(map(total.weight_of, range(len(total.value)))):
            found.values[name] = total.number(entry).tolist()
            found.totals[name] = total
    return found


def _with_repeated(total: Total, name: str, entry: Entry, history: EpochHistory) -> Total:
    """The total with all that rows asked for again within a step: alone, each question is a call of `self.log`."""
    for number, (logged, size) in enumerate(zip(history.logged, history.sizes, strict=True)):
        if name in logged and not name.endswith(WEIGHT):
            total = total.and_(entry, logged[name][None].double(), [_weight(logged, name, size)])
        for rows, again in [(rows, again) for batch, rows, again in history.repeated if batch == number]:
            if name in again and not name.endswith(WEIGHT):
                total = total.again(entry, again[name].double(), _weight(again, name, size), rows)
    return total


def _returned(running: Running, stage: Stage) -> set[str]:
    """The name of the loss that a step of a module gives back, where it logs none itself."""
    steps = running.steps.captured
    if not (running.members[0].job.own_module and steps[stage].gives_loss):
        return set()
    # Any number: the question is only whether a step gives a loss.
    return added(stage, torch.zeros(()), {name for each in steps.values() for name in each.entries})


def _begun(running: Running, begun: Mapping[int, Mapping[str, Any]], name: str, entry: Entry) -> Total:
    """The total of a metric in every row, over the batches that were done before."""
    nothing = Total.nothing(entry, len(running.stack))
    if not begun:
        return nothing
    found = [begun.get(run, {}).get(name, (nothing.value[0], 0)) for run in running.filled]
    values, weights = (
        torch.tensor([float(each) for each in kind], dtype=torch.float64) for kind in zip(*found, strict=True)
    )
    # One weight for all rows, whose batches are of one size, unless some of them asked for theirs again.
    return Total(values, weights if len(set(weights.tolist())) > 1 else found[0][1])


def _weight(logged: Mapping[str, Tensor], name: str, size: int) -> float:
    """The weight of a batch of so many samples in the mean of a metric."""
    given = logged.get(f"{name}{WEIGHT}")
    return size if given is None else float(given[0])
