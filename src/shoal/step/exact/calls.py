"""Watches the operations of a graph, or of a Python function, one by one as they run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from shoal.step.blind import blind

aten = torch.ops.aten

Place = Hashable
"""What an operation of a program is known by: the name of its node in a graph, else its `signature`."""


class Form(NamedTuple):
    """How a tensor lies in memory."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, value: Tensor) -> Form:
        """The form of a tensor."""
        return cls(value.shape, value.stride(), value.dtype)


@dataclass(frozen=True)
class Call:
    """An operation with what it was given and what it gave: the forms of tensors, other values as they are."""

    operation: Any
    n: int
    """The size of the stack that makes it."""
    given: list[Any]
    """Its arguments, one after the other."""
    results: list[Any]
    structure: pytree.TreeSpec
    """That of the results."""

    @classmethod
    def of(cls, operation: Any, n: int, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Call:
        """The call of an operation in a stack of `n` runs."""
        results, structure = pytree.tree_flatten(result)
        return cls(operation, n, _forms(pytree.tree_leaves((args, kwargs))), _forms(results), structure)

    @property
    def name(self) -> str:
        """What the operation is called."""
        return str(self.operation.overloadpacket.__name__)

    @property
    def shapes(self) -> str:
        """The shapes of the tensors among its arguments."""
        return ", ".join("x".join(map(str, each.shape)) or "1" for each in self.given if isinstance(each, Form))


def _forms(values: Sequence[Any]) -> list[Any]:
    return [Form.of(value) if isinstance(value, Tensor) else value for value in values]


Observer = Callable[[str | None, Any, Sequence[Any], Mapping[str, Any]], Any]
"""Is given every operation, with its node's name in a graph, and returns the operation's result."""


class Recording:
    """Observes a stack of `n`, and keeps the calls."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.calls: list[Call] = []

    def __call__(self, node: str | None, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        result = blind(operation, *args, **kwargs)
        self.calls.append(Call.of(operation, self.n, args, kwargs, result))
        return result


def observed(module: GraphModule, inputs: Sequence[Tensor], observer: Observer) -> None:
    """Run a graph; its inputs stay what they are."""
    with torch.no_grad():
        _Graph(module, observer).run(*inputs)


class _Graph(Interpreter):
    def __init__(self, module: GraphModule, observer: Observer) -> None:
        super().__init__(module)
        # What an observer raises ends a sentence for the user: fx would put the text of the node before it.
        self.extra_traceback = False
        self.observer = observer

    def run_node(self, n: Node) -> Any:
        """What a node gives."""
        if n.op != "call_function" or not isinstance(n.target, torch._ops.OpOverload):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        # A traced update ends in copies to its inputs, which are the stack's own tensors here: they are not made.
        return args[1] if n.target is aten.copy_.default else self.observer(n.name, n.target, args, kwargs)


class Observed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, an observer sees every operation."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.observer = observer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.observer(None, func, args, kwargs or {})


def signature(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Place:
    """What an operation is and is given; numbers that may change from step to step are left out."""
    forms = _forms(pytree.tree_leaves((args, kwargs)))
    return operation, tuple(each for each in forms if isinstance(each, Form | int | bool))
