"""What steps and schedulers of a stack must not look at, since each run has its own elsewhere: rates, and weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from shoal.step.unfit import CannotStackError


@contextmanager
def unseen(things: Iterable[Any]) -> Iterator[None]:
    """Within the block whoever looks at these, the optimizer and the schedulers of a run, fails."""
    before: list[tuple[Any, Any]] = [(each, type(each)) for each in things]
    for each, cls in before:
        each.__class__ = _hidden(cls)
    try:
        yield
    finally:
        for each, cls in before:
            object.__setattr__(each, "__class__", cls)


@cache
def _hidden(cls: Any) -> Any:
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, "__getattribute__": _refuse})


def _refuse(thing: Any, name: str) -> Any:
    if name.startswith("__"):  # which is asked of any object
        return object.__getattribute__(thing, name)
    raise CannotStackError(
        f"looks at {name} of its {object.__getattribute__(thing, '__class__').__name__}, which a stack steps",
        "the learning rate is logged as lr, and a hook of the epoch's end may look at self.trainer.optimizers",
    )


class Weightless(TorchFunctionMode):
    """Within it nobody computes with weights or buffers of a module, which are the stack's."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._own = {id(each) for each in (*module.parameters(), *module.buffers())}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if any(id(each) in self._own for each in pytree.tree_leaves((args, dict(kwargs or {})))):
            raise CannotStackError(
                "looks at weights or buffers, which a stack has", "a hook of the epoch's end may look at them"
            )
        return func(*args, **(kwargs or {}))
