"""The optimizer's update of stacks of one kind, traced and compiled once that pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from shoal.engines.stack.stack import Stack
from shoal.engines.step.compiled.program import Heat, Program
from shoal.optimizers.rule import Column, Rule

Updating = Callable[[tuple[Column, ...]], None]
"""Changes the parameters and the optimizer state of every run by a step; given what `Rule.of_steps` gives of it."""


class Update:
    """Serves all stacks whose runs share a step, each with settings of its own."""

    def __init__(self, heat: Heat | None = None) -> None:
        """`heat` is shared with what else trains these runs."""
        self._programs: dict[Any, Program] = {}
        self._heat = heat or Heat()

    def of(self, stack: Stack, grads: Tensor, settings: Any) -> Updating:
        """The update of a stack by the gradients that stand in `grads`, with the rule's prepared settings."""
        leaves, spec = pytree.tree_flatten((stack.params, grads, stack.state, settings))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        flags = tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        key = (stack.rule, spec, flags, *((each.shape, each.dtype) for each in tensors))
        if key not in self._programs:
            self._programs[key] = _program(stack.rule, spec, flags, self._heat)
        program = self._programs[key]
        return lambda step: program(*tensors, *step)


def _program(rule: Rule[Any], spec: pytree.TreeSpec, flags: Sequence[Any], heat: Heat) -> Program:
    """The update as a function of all its tensors; `flags` has None in their places."""

    def updated(*inputs: Tensor) -> None:
        tensors = iter(inputs)
        leaves = [next(tensors) if flag is None else flag for flag in flags]
        params, grads, state, settings = pytree.tree_unflatten(leaves, spec)
        rule.update(params, grads, state, settings, tuple(tensors))

    def traced(inputs: Sequence[Tensor]) -> GraphModule:
        return make_fx(functionalize(updated))(*(each.clone() for each in inputs))

    return Program(updated, traced, heat, "optimizer's update")
