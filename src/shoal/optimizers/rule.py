"""The stacked face of an optimizer: the update of many runs at once, as a function of tensors.

A stack keeps the parameters of all runs as one matrix (runs, params), and so do gradients and optimizer state. Settings
are columns (runs, 1) in float64, so that every run has its own. Each operation treats the rows alike and apart: a row's
result depends neither on how many rows there are nor on what stands in them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.optimizers.squares.problem import Problem

Matrix = Float[Tensor, "runs params"]
Column = Float[Tensor, "runs 1"]
Columns = Float[Tensor, "steps runs 1"]
Settings = TypeVar("Settings")
State = dict[str, Tensor]
"""Matrices by the names torch's own optimizers give them."""


class Rule(ABC, Generic[Settings]):
    """An update rule over a stack."""

    settings: ClassVar[tuple[str, ...]]
    """Settings beside the learning rate; all of them are numbers or flags, and may differ from run to run."""
    state: ClassVar[tuple[str, ...]]
    """Names of the state's matrices, as in the state dict of the torch optimizer."""
    solves: ClassVar[bool] = False
    """Whether it takes its steps by `solve`, from the residuals of all samples, and not by `update`."""
    counts_steps: ClassVar[bool] = True
    """Whether the torch optimizer keeps a `step` beside each parameter's state."""

    def init(self, params: Matrix) -> State:
        """The state before the first step."""
        return {name: torch.zeros_like(params) for name in self.state}

    @abstractmethod
    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> Settings:
        """What `update` needs of the settings, worked out once in float64: a named tuple of tensors and flags."""

    def of_steps(
        self, settings: Mapping[str, Column], lrs: Columns, steps: Sequence[int], dtype: torch.dtype
    ) -> list[tuple[Column, ...]]:
        """What `update` needs of each of some steps: the size of the step of each run, negative.

        `lrs` are the learning rates of the steps, `steps` counts each run's steps up to the first of them, which is
        included.
        """
        del settings, steps
        return [(size,) for size in (-lrs).to(dtype)]

    @abstractmethod
    def update(self, params: Matrix, grads: Matrix, state: State, settings: Settings, step: tuple[Column, ...]) -> None:
        """One step of every run, in place on `params` and `state`; `grads` may be overwritten.

        `settings` are prepared ones, `step` is what `of_steps` gives. Nothing else may have a part in it, and no number
        of a tensor may decide what is done: it is traced.
        """

    def solve(self, params: Matrix, state: State, settings: Settings, problem: Problem) -> tuple[Matrix, State]:
        """One step of every run: its new parameters and state, without gaps between them."""
        raise NotImplementedError

    def stopped(self, state: State, row: int) -> str | None:
        """Why a run needs no further step, where it is the rule that says so."""
        del state, row
        return None

    def columns(self, runs: Sequence[Any]) -> dict[str, Column]:
        """The settings of `runs` (objects with an attribute for each setting) as columns."""
        return {
            name: torch.tensor([[float(getattr(run, name))] for run in runs], dtype=torch.float64)
            for name in self.settings
        }

    def kept(self, settings: Mapping[str, float]) -> tuple[str, ...]:
        """Which of the state a torch optimizer with these settings keeps."""
        del settings
        return self.state


class Some(NamedTuple):
    """A setting that not every run makes use of."""

    value: Column
    used: Bool[Tensor, "runs 1"]
    any: bool
    all: bool

    @classmethod
    def of(cls, value: Column, dtype: torch.dtype) -> Some:
        """The setting as a column; the runs where it is zero do without."""
        used = value != 0
        return cls(value.to(dtype), used, bool(used.any()), bool(used.all()))

    def choose(self, yes: Matrix, no: Matrix) -> Matrix:
        """The rows of `yes` for the runs that use the setting, else those of `no`, bit for bit."""
        return yes if self.all else torch.where(self.used, yes, no)

    def put(self, new: Matrix, into: Matrix) -> None:
        """Write the rows of `new` for the runs that use the setting; what the others have stays as it is."""
        into.copy_(self.choose(new, into))


def decayed(params: Matrix, grads: Matrix, weight_decay: Some) -> Matrix:
    """The gradient of the loss with an L2 penalty, for the runs that have one."""
    if not weight_decay.any:
        return grads
    return weight_decay.choose(torch.addcmul(grads, params, weight_decay.value), grads)


def root(square: Matrix) -> Matrix:
    """The square root; of the smallest normal number where `square` is zero or less than that.

    Of zeros it takes the vector library twenty times as long, and of weights that are never used all squares are zero.
    It is added to an `eps` beside which it vanishes.
    """
    return (square + torch.finfo(square.dtype).tiny).sqrt_()


def corrections(decay: Column, steps: Sequence[int], n_steps: int) -> Columns:
    """1 - decay^step of each run and step, in Python's arithmetic: a vectorised power may differ by its place."""
    pairs = list(zip(decay[:, 0].tolist(), steps, strict=True))
    # Runs of a stack mostly share theirs, and there are as many numbers as runs times steps.
    places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    known = [[1 - beta ** (step + more) for beta, step in places] for more in range(n_steps)]
    found = torch.tensor(known, dtype=torch.float64).view(n_steps, len(places))
    return found[:, [places[pair] for pair in pairs], None]


def as_torch(
    rule: Rule[Any], parts: Mapping[str, Sequence[Tensor]], n_params: int, step: int, settings: Mapping[str, float]
) -> dict[int, Any]:
    """The "state" of the torch optimizer's state dict, from a run's state cut into its parameters: copies."""
    # torch makes its state with the first step: before it there is none.
    kept = rule.kept(settings) if step else ()
    counted = step and rule.counts_steps
    if not (kept or counted):
        return {}
    return {
        i: ({"step": torch.tensor(float(step))} if counted else {}) | {name: parts[name][i].clone() for name in kept}
        for i in range(n_params)
    }


def from_torch(
    rule: Rule[Any], state: Mapping[int, Mapping[str, Any]], like: Sequence[Tensor]
) -> dict[str, list[Tensor]]:
    """A run's state, cut into parameters shaped as `like`, from the "state" of the torch optimizer's state dict."""

    def value(i: int, name: str) -> Tensor:
        # What a run does without, as a momentum of 0, its optimizer has not kept; in a stack others may have it.
        found = state.get(i, {}).get(name)
        return torch.zeros_like(like[i]) if found is None else cast(Tensor, found)

    return {name: [value(i, name) for i in range(len(like))] for name in rule.state}
