"""The optimizer's update of stacks of one kind, traced and compiled once that pays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from shoal.engines.stack.by_objects import ByObjects
from shoal.engines.stack.moving import sent
from shoal.engines.stack.objects import Objects
from shoal.engines.stack.stack import Stack
from shoal.optimizers.rule import Column, Rule
from shoal.step.compiled.program import Heat, Program
from shoal.step.exact.guard import Guard
from shoal.step.exact.subject import OfProgram
from shoal.step.graph import describe, same_values
from shoal.step.traced import traced

Updating = Callable[[tuple[Column, ...]], None]
"""Changes the parameters and the optimizer state of every run by a step; given what `Rule.of_steps` gives of it."""


class Update:
    """Serves all stacks whose runs share a step, each with settings of its own."""

    def __init__(self, heat: Heat | None = None, guard: Guard | None = None) -> None:
        """`heat` and `guard` are shared with what else trains these runs."""
        self.guard = guard or Guard()
        self._programs: dict[Any, Program] = {}
        self._guarded: dict[Any, Program] = {}
        """Those that the guard has passed."""
        self._heat = heat or Heat()
        self.exact: dict[str, bool] = {}
        """Whether steps that are taken at once have the bits of steps taken one by one, by what they are taken by."""

    def of(self, stack: Stack, grads: Tensor) -> Updating:
        """The update of a stack by the gradients that stand in `grads`.

        Raises:
            InexactError: where the guard lets these runs not train together.
        """
        if isinstance(stack.rule, ByObjects):
            return Objects(stack, stack.rule, grads)
        found = _Flat.of(stack, grads, stack.settings)
        if found.key not in self._programs:
            self._programs[found.key] = found.program(self._heat)
        program = self._programs[found.key]
        if self.guard.on:
            if found.key not in self._guarded:
                self._guarded[found.key] = self._settled(program, stack, found)
            program = self._guarded[found.key]
        return ProgrammedUpdate(program, found.tensors)

    def _settled(self, program: Program, stack: Stack, found: _Flat) -> Program:
        """The program as the guard lets it pass."""
        programs: dict[Any, Program] = {}

        def alone(row: int) -> Program:
            own = {name: value[[row]] for name, value in stack.settings.items()}
            flags = _Flat.of(stack, found.grads, own).flags
            # Alone, a run without momentum goes without operations that others in its stack need: another program.
            if flags not in programs:
                programs[flags] = found._replace(flags=flags).program(self._heat)
            return programs[flags]

        n = len(stack)
        # Not the rates of the runs: one that begins at zero would hide every difference.
        rates = torch.full((1, n, 1), 1e-3, dtype=torch.float64)
        [step] = stack.rule.of_steps(stack.settings, rates, [1] * n, stack.params.dtype)
        subject = OfProgram(program, lambda inputs: program, alone)
        self.guard.settle(subject, [*found.tensors, *step], found.text)
        return subject.program


@dataclass(frozen=True)
class ProgrammedUpdate:
    """An update by a program."""

    program: Program
    tensors: list[Tensor]
    """What it is given in every step."""

    def __call__(self, step: tuple[Column, ...]) -> None:
        self.program(*self.tensors, *step)


class _Flat(NamedTuple):
    """An update as a function of tensors alone."""

    rule: Rule[Any]
    tensors: list[Tensor]
    flags: tuple[Any, ...]
    """The settings that are no tensors, among places for those that are."""
    spec: pytree.TreeSpec

    @classmethod
    def of(cls, stack: Stack, grads: Tensor, settings: Mapping[str, Column]) -> _Flat:
        """That of a stack."""
        prepared = sent(stack.rule.prepared(settings, stack.params.dtype), stack.device)
        leaves, spec = pytree.tree_flatten((stack.params, grads, stack.state, prepared))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return cls(stack.rule, tensors, tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves), spec)

    @property
    def grads(self) -> Tensor:
        """The gradients."""
        return self.tensors[1]

    @property
    def key(self) -> Any:
        """What it is a program for."""
        return (self.rule, self.spec, self.flags, *((each.shape, each.dtype, each.device) for each in self.tensors))

    @property
    def text(self) -> str | None:
        """What it computes, where the rule is shoal's own: another's may change without changing its name."""
        own = type(self.rule).__module__.startswith(f"{__name__.partition('.')[0]}.")
        return f"{type(self.rule)} {self.rule} {self.flags} {self.spec}" if own else None

    def program(self, heat: Heat) -> Program:
        """The program, given the tensors and then what `Rule.of_steps` gives."""

        def updated(*inputs: Tensor) -> None:
            tensors = iter(inputs)
            leaves = [next(tensors) if flag is None else flag for flag in self.flags]
            params, grads, state, settings = pytree.tree_unflatten(leaves, self.spec)
            self.rule.update(params, grads, state, settings, tuple(tensors))

        def graph(inputs: Sequence[Tensor]) -> GraphModule:
            # What is traced is run, and an update writes to what it is given: on copies.
            return _without_copies(traced(updated, [each.clone() for each in inputs]))

        return Program(updated, graph, heat, "optimizer's update")


def _without_copies(module: GraphModule) -> GraphModule:
    """The graph that reads what was copied, where a copy is what it was made of: kernels then need not end there."""
    graph = module.graph
    for node in list(graph.nodes):
        describe(node)
        source = node.args[1] if node.target is torch.ops.aten.copy.default else None
        if isinstance(source, Node) and same_values(source, node):
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    module.recompile()
    return module
