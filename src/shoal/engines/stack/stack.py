"""The runs of a stack: parameters, buffers and optimizer state, one row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.parameter_layout import Layout
from shoal.optimizers.rule import Column, Matrix, Rule, State, as_torch, from_torch

SMALLEST = 2
"""Rows of the smallest stack: a single row would go through other kernels, with other rounding."""


@dataclass(frozen=True)
class Divergence:
    """When and how a run stopped being finite."""

    step: int
    """Optimizer steps it had done."""
    what: str
    """What was not finite: "loss" or "gradient"."""
    norm: float | None = None
    """The largest norm of its gradient in the epoch's steps before."""

    def __str__(self) -> str:
        return f"the {self.what} is not finite at step {self.step}"


@dataclass
class Stack:
    """Runs that take their steps together.

    A row that is not active never changes again. Rows at the end may be copies of the last run, there only to fill up.
    """

    layout: Layout
    rule: Rule[Any]
    params: Matrix
    buffers: dict[str, Tensor]
    """Of shape (runs, *shape)."""
    state: State
    settings: dict[str, Column]
    limits: GradientLimits
    steps: list[int]
    """Optimizer steps each row has done."""
    active: list[bool]
    diverged: dict[int, Divergence]
    """By row."""

    @classmethod
    def of(
        cls,
        modules: Sequence[nn.Module],
        rule: Rule[Any],
        settings: Mapping[str, Column],
        *,
        limits: GradientLimits | None = None,
        rows: int = SMALLEST,
    ) -> Stack:
        """A new stack of the modules' parameters (those that are trained) and buffers, with at least `rows` rows."""
        trained = [{n: p for n, p in module.named_parameters() if p.requires_grad} for module in modules]
        layout = Layout.of(trained[0])
        params = layout.matrix([list(named.values()) for named in trained])
        fixed = [_fixed(module) for module in modules]
        buffers = {name: torch.stack([named[name] for named in fixed]) for name in fixed[0]}
        runs = len(modules)
        stack = cls(
            layout,
            rule,
            params,
            buffers,
            rule.init(params),
            dict(settings),
            limits or GradientLimits.of([None] * runs, [None] * runs),
            [0] * runs,
            [True] * runs,
            {},
        )
        return stack if runs >= rows else stack.select(range(runs), size=rows)

    def __len__(self) -> int:
        return len(self.params)

    def views(self) -> dict[str, Tensor]:
        """Parameters by name, of shape (runs, *shape): views, so that they follow every step."""
        return dict(zip(self.layout.names, self.layout.views(self.params), strict=True))

    def select(self, rows: Sequence[int], *, size: int = 0) -> Stack:
        """A new stack of some of the rows, the last of them repeated until there are `size`."""
        rows = [*rows, *[rows[-1]] * (size - len(rows))]
        index = torch.tensor(rows)
        return Stack(
            self.layout,
            self.rule,
            self.params[index],
            {name: value[index] for name, value in self.buffers.items()},
            {name: value[index] for name, value in self.state.items()},
            {name: value[index] for name, value in self.settings.items()},
            self.limits.select(index),
            [self.steps[row] for row in rows],
            [self.active[row] for row in rows],
            {new: self.diverged[row] for new, row in enumerate(rows) if row in self.diverged},
        )

    def copy_row(self, row: int, other: Stack, other_row: int) -> None:
        """Take a run over from another stack of the same kind, or from another row of this one."""
        self.params[row] = other.params[other_row]
        for mine, theirs in ((self.state, other.state), (self.buffers, other.buffers)):
            for name, value in theirs.items():
                mine[name][row] = value[other_row]
        self.steps[row] = other.steps[other_row]

    def weights(self, row: int) -> dict[str, Tensor]:
        """Parameters and buffers of one run, by name: copies that share nothing with the stack."""
        parts = self.layout.parts(self.params[row])
        params = {name: part.clone() for name, part in zip(self.layout.names, parts, strict=True)}
        return params | {name: value[row].clone() for name, value in self.buffers.items()}

    def load_weights(self, row: int, weights: Mapping[str, Tensor]) -> None:
        """Set parameters and buffers of one run; names that are not the stack's are passed over."""
        for name, part in zip(self.layout.names, self.layout.parts(self.params[row]), strict=True):
            part.copy_(weights[name])
        for name, value in self.buffers.items():
            if name in weights:
                value[row].copy_(weights[name])

    def optimizer_state(self, row: int) -> dict[int, Any]:
        """The "state" of the state dict that the run's torch optimizer would have: copies."""
        parts = {name: self.layout.parts(matrix[row]) for name, matrix in self.state.items()}
        return as_torch(self.rule, parts, len(self.layout.names), self.steps[row], self._settings(row))

    def load_optimizer_state(self, row: int, state: Mapping[int, Mapping[str, Any]], *, steps: int) -> None:
        """Take over the "state" of a torch optimizer's state dict, and the steps it has done."""
        like = self.layout.parts(self.params[row])
        for name, values in from_torch(self.rule, state, like).items():
            for part, value in zip(self.layout.parts(self.state[name][row]), values, strict=True):
                part.copy_(value)
        self.steps[row] = steps

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes: copies of tensors, and plain values."""
        return {
            "params": self.params.clone(),
            "buffers": {name: value.clone() for name, value in self.buffers.items()},
            "state": {name: value.clone() for name, value in self.state.items()},
            "steps": list(self.steps),
            "active": list(self.active),
            "diverged": {row: [found.step, found.what, found.norm] for row, found in self.diverged.items()},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with as many rows."""
        self.params.copy_(saved["params"])
        self.buffers = {name: value.clone() for name, value in saved["buffers"].items()}
        for name, value in saved["state"].items():
            self.state[name].copy_(value)
        self.steps, self.active = list(saved["steps"]), list(saved["active"])
        self.diverged = {int(row): Divergence(*found) for row, found in saved["diverged"].items()}

    def _settings(self, row: int) -> dict[str, float]:
        return {name: float(column[row]) for name, column in self.settings.items()}


def own_names(module: nn.Module) -> dict[str, str]:
    """For each name in a module's state dict the first one of the same tensor: one that is shared has several."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(value), name) for name, value in module.state_dict(keep_vars=True).items()}


def state_dict_of(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A run's weights by all the names of its module's state dict; those given have the first name of each tensor."""
    return {name: weights[own] for name, own in own_names(module).items()}


def _fixed(module: nn.Module) -> dict[str, Tensor]:
    """What is not trained: buffers, and parameters that need no gradient."""
    frozen = {name: param.detach() for name, param in module.named_parameters() if not param.requires_grad}
    return frozen | dict(module.named_buffers())
