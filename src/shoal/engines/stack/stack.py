"""The runs of a stack: parameters, buffers and optimizer state, one row for each."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.engines.stack.averaging import Averages, Averaging
from shoal.engines.stack.by_objects import ByObjects, common
from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.moving import copied
from shoal.engines.stack.parameter_layout import Layout
from shoal.engines.stack.run_optimizer import RunOptimizer
from shoal.optimizers import why_stopped
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
    own: list[RunOptimizer] = field(default_factory=list)
    """The optimizer of each row, where its own object steps it and not a rule."""
    kept: list[list[dict[str, Any]]] = field(default_factory=list)
    """For each row the state that its own object keeps beside each parameter, where that is not in `state`, and then
    what it keeps beside none. Nothing before the first step."""
    averages: Averages | None = None
    """Those of the weights, where the runs are judged by them."""
    grads: Matrix | None = None
    """Gradients that may be added to those of the next batch, where modules optimize by hand."""
    graded: frozenset[int] = frozenset()
    """The places of the parameters that have such a gradient."""

    @classmethod
    def of(
        cls,
        modules: Sequence[nn.Module],
        rule: Rule[Any],
        settings: Mapping[str, Column],
        *,
        limits: GradientLimits | None = None,
        rows: int = SMALLEST,
        own: Sequence[RunOptimizer] = (),
        averaging: Sequence[Averaging] = (),
        device: torch.device | None = None,
    ) -> Stack:
        """A new stack of the modules' parameters (those that are trained) and buffers, with at least `rows` rows.

        `own` are the runs' own optimizers, where those step them; `averaging` says how each averages its weights;
        `device` is where the stack is to be.
        """
        trained = [{n: p for n, p in module.named_parameters() if p.requires_grad} for module in modules]
        if own:
            # In the optimizer's order, so that each of its groups is one slice of the matrix.
            order = [name for names in own[0].names for name in names]
            trained = [{name: named[name] for name in order} for named in trained]
        layout = Layout.of(trained[0])
        params = layout.matrix([list(named.values()) for named in trained], device)
        fixed = [_fixed(module) for module in modules]
        buffers = {name: torch.stack([named[name] for named in fixed]).to(params.device) for name in fixed[0]}
        # Lightning averages parameters that are not trained too, but buffers only where it is told to.
        frozen = frozenset(buffers).difference(name for name, _ in modules[0].named_buffers())
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
            list(own),
            [[] for _ in own],
            Averages(averaging, params, buffers, frozen) if averaging else None,
            torch.zeros_like(params) if own and own[0].by_hand else None,
        )
        return stack if runs >= rows else stack.select(range(runs), size=rows)

    def __len__(self) -> int:
        return len(self.params)

    @property
    def device(self) -> torch.device:
        """Where its parameters are, and everything beside them but the numbers that each run has only one of."""
        return self.params.device

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
            [self.own[row] for row in rows] if self.own else [],
            # Copies, since a row may be selected more than once, and what objects keep is changed in place.
            [copy.deepcopy(self.kept[row]) for row in rows] if self.own else [],
            self.averages.select(index) if self.averages else None,
            None if self.grads is None else self.grads[index],
            self.graded,
        )

    def copy_rows(self, rows: Sequence[int], other: Stack, other_rows: Sequence[int]) -> None:
        """Take runs over from another stack of the same kind, or from other rows of this one."""
        if not rows:
            return
        to, of = (torch.tensor(each).to(self.device) for each in (rows, other_rows))
        self.params[to] = other.params[of]
        for mine, theirs in ((self.state, other.state), (self.buffers, other.buffers)):
            for name, value in theirs.items():
                mine[name][to] = value[of]
        if self.grads is not None and other.grads is not None:
            self.grads[to], self.graded = other.grads[of], other.graded
        for row, other_row in zip(rows, other_rows, strict=True):
            self.steps[row] = other.steps[other_row]
            if self.own:
                self.kept[row] = copy.deepcopy(other.kept[other_row])
            if self.averages and other.averages:
                self.averages.copy_row(row, other.averages, other_row)

    @property
    def judged(self) -> Stack:
        """The stack with the weights that its runs are judged by."""
        if self.averages is None:
            return self
        return replace(self, params=self.averages.params, buffers=self.averages.buffers, averages=None)

    def take_buffers(self, new: dict[str, Tensor]) -> None:
        """Let the buffers be those that a step has left, of the runs that still train."""
        # Mostly so; then there is nothing to choose between, and no copy is made.
        if all(self.active):
            self.buffers = new
            return
        active = torch.tensor(self.active).to(self.device)
        for name, value in new.items():
            if value is not self.buffers[name]:
                mask = active.view(-1, *[1] * (value.dim() - 1))
                self.buffers[name] = torch.where(mask, value, self.buffers[name])

    def drop_gradients(self) -> None:
        """Let go of gradients that wait for the next batch."""
        if self.grads is not None:
            self.grads.zero_()
            self.graded = frozenset()

    def gradients(self, row: int) -> dict[str, Tensor]:
        """Those of a run that wait for the next batch, by the names of the parameters: copies in main memory."""
        if self.grads is None:
            return {}
        parts = enumerate(self.layout.parts(copied(self.grads[row])))
        return {self.layout.names[place]: part for place, part in parts if place in self.graded}

    def load_gradients(self, row: int, gradients: Mapping[str, Tensor]) -> None:
        """Let a run have these."""
        if self.grads is not None:
            self.graded = frozenset(place for place, name in enumerate(self.layout.names) if name in gradients)
            for name, part in zip(self.layout.names, self.layout.parts(self.grads[row]), strict=True):
                part.copy_(gradients[name]) if name in gradients else part.zero_()

    def average(self) -> None:
        """Let the weights that a step has come to count in their averages."""
        if self.averages:
            self.averages.take(self.params, self.buffers, steps=self.steps, active=self.active)

    def weights(self, row: int) -> dict[str, Tensor]:
        """Parameters and buffers of one run, by name: copies in main memory that share nothing with the stack."""
        parts = self.layout.parts(self.params[row])
        params = {name: copied(part) for name, part in zip(self.layout.names, parts, strict=True)}
        return params | {name: copied(value[row]) for name, value in self.buffers.items()}

    def load_weights(self, row: int, weights: Mapping[str, Tensor]) -> None:
        """Set parameters and buffers of one run; names that are not the stack's are passed over."""
        for name, part in zip(self.layout.names, self.layout.parts(self.params[row]), strict=True):
            part.copy_(weights[name])
        for name, value in self.buffers.items():
            if name in weights:
                value[row].copy_(weights[name])

    def optimizer_state(self, row: int) -> dict[Any, Any]:
        """The "state" of the state dict that the run's torch optimizer would have: copies."""
        if self.own:
            return self._own_state(row)
        parts = {name: self.layout.parts(copied(matrix[row])) for name, matrix in self.state.items()}
        return as_torch(self.rule, parts, len(self.layout.names), self.steps[row], self._settings(row))

    def stopped(self, row: int) -> str | None:
        """Why a run needs no further step, where its optimizer says so."""
        return why_stopped(self.kept[row]) if self.own else self.rule.stopped(self.state, row)

    def load_optimizer_state(self, row: int, state: Mapping[Any, Any], *, steps: int) -> None:
        """Take over the "state" of a torch optimizer's state dict, and the steps it has done."""
        self.steps[row] = steps
        if self.own:
            self._load_own_state(row, state)
            return
        like = self.layout.parts(self.params[row])
        for name, values in from_torch(self.rule, state, like).items():
            for part, value in zip(self.layout.parts(self.state[name][row]), values, strict=True):
                part.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes: copies of tensors in main memory, and plain values."""
        return {
            "params": copied(self.params),
            "buffers": {name: copied(value) for name, value in self.buffers.items()},
            "state": {name: copied(value) for name, value in self.state.items()},
            "steps": list(self.steps),
            "active": list(self.active),
            "kept": pytree.tree_map_only(Tensor, copied, copy.deepcopy(self.kept)),
            "diverged": {row: [found.step, found.what, found.norm] for row, found in self.diverged.items()},
            **({"averages": self.averages.state_dict()} if self.averages else {}),
            **({} if self.grads is None else {"grads": copied(self.grads), "graded": sorted(self.graded)}),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with as many rows."""
        self.params.copy_(saved["params"])
        # A copy even where they are: rows are written to in place later, and `saved` is the caller's.
        self.buffers = {name: value.to(self.device, copy=True) for name, value in saved["buffers"].items()}
        for name, value in saved["state"].items():
            self.state[name].copy_(value)
        self.steps, self.active = list(saved["steps"]), list(saved["active"])
        self.kept = self._taken(saved.get("kept", []))
        self.diverged = {int(row): Divergence(*found) for row, found in saved["diverged"].items()}
        if self.averages:
            self.averages.load_state_dict(saved["averages"])
        if self.grads is not None:
            self.grads.copy_(saved["grads"])
            self.graded = frozenset(saved["graded"])

    def _own_state(self, row: int) -> dict[Any, Any]:
        """The state of the run's own object; none before its first step."""
        assert isinstance(self.rule, ByObjects)
        own = self.own[row]
        if self.rule.whole and self.steps[row]:
            names = {name for place in range(len(own.names)) for name in self.rule.matrices_of(place)}
            parts = {name: self.layout.parts(copied(self.state[name][row])) for name in names}
            found = self.rule.of_params(parts, self.state, row, [len(each) for each in own.names])
            groups = [place for place, each in enumerate(own.names) for _ in each]
            begun = [self.rule.has_begun(place, self.state, row, self.steps[row]) for place in groups]
            found = [each if has else {} for each, has in zip(found, begun, strict=True)]
        else:
            found = pytree.tree_map_only(Tensor, copied, copy.deepcopy(self.kept[row]))
        beside_none = found[len(own.places) :]
        return {**{number: each for number, each in zip(own.places, found, strict=False) if each}, **dict(*beside_none)}

    def _load_own_state(self, row: int, state: Mapping[Any, Any]) -> None:
        assert isinstance(self.rule, ByObjects)
        own = self.own[row]
        given = [dict(state.get(number, {})) for number in own.places]
        if not self.rule.whole:
            self.kept[row] = self._taken([*given, common(state)])
            return
        groups = [place for place, names in enumerate(own.names) for _ in names]
        for number in range(len(self.rule.by_hand)):
            begun = any(
                each and place in self.rule.groups_of(number) for place, each in zip(groups, given, strict=True)
            )
            self.state[self.rule.steps_of(number)][row, 0] = float(begun)
        # A state of one column is a number of the run: `columns_of` names it, below.
        parts = {name: self.layout.parts(each[row]) for name, each in self.state.items() if each.shape[1] > 1}
        for number, (place, values) in enumerate(zip(groups, given, strict=True)):
            for name in self.rule.matrices_of(place):
                if name in values:
                    parts[name][number].copy_(values[name])
            for name, column in self.rule.columns_of(place).items():
                if name in values:
                    self.state[column][row, 0] = float(values[name])

    def _taken(self, kept: Any) -> Any:
        """A copy of what objects keep, its tensors where the parameters are but for single numbers."""

        def there(value: Tensor) -> Tensor:
            # torch's optimizers count their steps in main memory, whatever device their parameters are on.
            return value.to(self.device) if value.dim() else value

        return pytree.tree_map_only(Tensor, there, copy.deepcopy(kept))

    def _settings(self, row: int) -> dict[str, float]:
        return {name: float(column[row]) for name, column in self.settings.items()}


def own_names(module: nn.Module) -> dict[str, str]:
    """For each name in a module's state dict the first one of the same tensor: one that is shared has several."""
    first: dict[int, str] = {}
    # The very tensors (keep_vars): detached ones would be different objects, and none known to be shared.
    return {name: first.setdefault(id(value), name) for name, value in module.state_dict(keep_vars=True).items()}


def state_dict_of(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A run's weights by all the names of its module's state dict; those given have the first name of each tensor."""
    return {name: weights[own] for name, own in own_names(module).items()}


def _fixed(module: nn.Module) -> dict[str, Tensor]:
    """The tensors that are not trained: buffers, and parameters that need no gradient."""
    frozen = {name: param.detach() for name, param in module.named_parameters() if not param.requires_grad}
    return frozen | dict(module.named_buffers())
