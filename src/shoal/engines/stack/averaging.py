"""Averages of the runs' weights, taken beside the steps of a stack as Lightning's callback takes them of one run."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor

from shoal.engines.stack.moving import copied
from shoal.optimizers.rule import Matrix

_SETTINGS = {"__init__", "should_update"}
"""What a class of the user's own may define of its own: both are asked of the callback itself."""


@dataclass(frozen=True)
class Averaging:
    """How one run averages its weights: its callback says when, and what it is called in a checkpoint."""

    callback: WeightAveraging
    decay: float | None
    """What is left of the average at each step, of one that forgets; None of the plain mean."""

    @classmethod
    def of(cls, callbacks: Mapping[str, Any]) -> Averaging | None:
        """That of a run with these callbacks."""
        found = next((each for each in callbacks.values() if isinstance(each, WeightAveraging)), None)
        return None if found is None else cls(found, _decay(found))

    @property
    def of_buffers(self) -> bool:
        """Whether buffers are averaged too; else they are those of the last step."""
        return self.callback._use_buffers

    @property
    def in_words(self) -> str:
        """By which formula it averages, and what: as all runs of a stack do."""
        return f"by {'the mean' if self.decay is None else 'a decay'}{', buffers too' if self.of_buffers else ''}"

    @property
    def key(self) -> str:
        """What the callback's state is called in a checkpoint."""
        return self.callback.state_key

    def is_due(self, step: int) -> bool:
        """Whether the weights count that this step, the first being 0, has come to."""
        return self.callback.should_update(step_idx=step)


class Averages:
    """The averaged weights of every row of a stack: the runs are judged by them, and train on from their own."""

    def __init__(
        self,
        how: Sequence[Averaging],
        params: Matrix,
        buffers: Mapping[str, Tensor],
        parameters: frozenset[str] = frozenset(),
    ) -> None:
        """Until the first is taken they are the weights that a run begins with.

        `parameters` names those of the buffers that are parameters, which are not trained.
        """
        self.how = list(how)
        self.params = params.clone()
        self.buffers = {name: value.clone() for name, value in buffers.items()}
        self.parameters = parameters
        self.taken = [0] * len(self.how)
        """How many weights the average of each row is of."""
        self.latest = [0] * len(self.how)
        """Optimizer steps that each row had done when it was averaged last."""

    def take(
        self, params: Matrix, buffers: Mapping[str, Tensor], *, steps: Sequence[int], active: Sequence[bool]
    ) -> None:
        """Let the weights count that the rows have after so many optimizer steps, where their settings say so."""
        rows = [
            row
            for row, each in enumerate(self.how)
            # As in Lightning: steps are counted from 0, and none counts twice.
            if active[row] and steps[row] > self.latest[row] and each.is_due(steps[row] - 1)
        ]
        # The first weights are taken as they are, later ones by a formula: each kind of rows is one operation.
        for some in ([row for row in rows if not self.taken[row]], [row for row in rows if self.taken[row]]):
            if some:
                self._take(some, params, buffers)
        for row in rows:
            self.taken[row] += 1
            self.latest[row] = steps[row]

    def _take(self, rows: Sequence[int], params: Matrix, buffers: Mapping[str, Tensor]) -> None:
        """For rows that all have an average, or all have none yet."""
        # A slice is a view; places in a tensor would copy the whole matrix.
        every = slice(None) if len(rows) == len(self.how) else torch.tensor(rows)
        self.params[every] = self._averaged(rows, self.params[every], params[every])
        for name, value in self.buffers.items():
            counts = self.how[rows[0]].of_buffers or name in self.parameters
            new = buffers[name][every]
            # Counters are cut off to whole numbers again, as where torch copies an average to its place.
            value[every] = self._averaged(rows, value[every], new).to(value.dtype) if counts else new

    def _averaged(self, rows: Sequence[int], averaged: Tensor, current: Tensor) -> Tensor:
        # The formulas of torch.optim.swa_utils, whose settings are columns here: each operation is one rounding.
        if not self.taken[rows[0]]:
            return current
        how = [self.how[row] for row in rows]
        if how[0].decay is None:
            return averaged + (current - averaged) / _column([self.taken[row] + 1 for row in rows], current)
        decays = [each.decay or 0.0 for each in how]
        left, added = _column(decays, current), _column([1 - decay for decay in decays], current)
        return left * averaged + added * current

    def select(self, index: Tensor) -> Averages:
        """Those of some of the rows, in a stack of their own."""
        rows = index.tolist()
        found = Averages(
            [self.how[row] for row in rows],
            self.params[index],
            {name: value[index] for name, value in self.buffers.items()},
            self.parameters,
        )
        found.taken = [self.taken[row] for row in rows]
        found.latest = [self.latest[row] for row in rows]
        return found

    def copy_row(self, row: int, other: Averages, other_row: int) -> None:
        """Take those of a run over from another stack."""
        self.params[row] = other.params[other_row]
        for name, value in other.buffers.items():
            self.buffers[name][row] = value[other_row]
        self.taken[row], self.latest[row] = other.taken[other_row], other.latest[other_row]

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes: copies of tensors in main memory, and plain values."""
        return {
            "params": copied(self.params),
            "buffers": {name: copied(value) for name, value in self.buffers.items()},
            "taken": list(self.taken),
            "latest": list(self.latest),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with as many rows."""
        self.params.copy_(saved["params"])
        self.buffers = {name: value.to(self.params.device, copy=True) for name, value in saved["buffers"].items()}
        self.taken, self.latest = list(saved["taken"]), list(saved["latest"])


def why_apart(callback: WeightAveraging, trainer: Mapping[str, Any], *, validates: bool) -> str | None:
    """Why a stack cannot average as this callback does, or None where it can."""
    own = {name for cls in _own_classes(callback) for name in vars(cls) if callable(vars(cls)[name])}
    # A method that is overridden may be a hook that Lightning would call, and a stack would pass over it.
    if own - _SETTINGS:
        return f"has {min(own - _SETTINGS)}, which a stack does not call"
    if _decay(callback) is None and set(callback._kwargs) & {"avg_fn", "multi_avg_fn"}:
        return "averages by a function that a stack does not know"
    if str(callback._device or "cpu") != "cpu":
        return f"keeps the averages on {callback._device}"
    # A copy is asked: a method of the user's own may count how often. Without an end a thousand epochs have to do.
    epochs, tried = trainer.get("max_epochs") or -1, copy.deepcopy(callback)
    if any(tried.should_update(epoch_idx=epoch) for epoch in range(epochs if epochs > 0 else 1000)):
        return "averages after the validation of an epoch, which is then of others"
    for name, usual in {"check_val_every_n_epoch": 1, "max_steps": -1}.items():
        if validates and trainer.get(name) not in (None, usual):
            return f"may end on other weights than were validated, by trainer.{name}={trainer[name]}"
    return None


def _own_classes(callback: WeightAveraging) -> list[type]:
    kinds = (EMAWeightAveraging, *WeightAveraging.__mro__)
    return [cls for cls in type(callback).__mro__ if cls not in kinds]


def _decay(callback: WeightAveraging) -> float | None:
    """That of the function of torch's that a callback averages by; None where it is by another, or by none."""
    function: Any = callback._kwargs.get("avg_fn")
    if getattr(function, "__module__", None) != "torch.optim.swa_utils":
        return None
    # torch keeps the decay in the closure of the function that it makes, and nowhere else.
    formula = inspect.unwrap(function)
    found = inspect.getclosurevars(formula).nonlocals.get("decay") if inspect.isfunction(formula) else None
    return None if found is None else float(found)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """One value for each row, to compute with `like` as a single number is in torch."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return torch.tensor(values, dtype=torch.float64).to(dtype).to(like.device).view(-1, *[1] * (like.dim() - 1))
