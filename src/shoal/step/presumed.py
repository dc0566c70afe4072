"""Whether the numbers of a step are finite, where it asks: that is presumed, and whether it was true is kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Presumed(TorchFunctionMode):
    """While it is on, a step may branch on whether numbers are finite: they are presumed to be.

    A mapping over runs has no single answer to give. Where the presumption fails for a run, the step of that run is not
    what it would be alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[Tensor, bool]] = {}
        """Flags whose value follows from the presumption; the tensors are kept, so that none takes another's place."""
        self._asked: list[Tensor] = []

    @property
    def held(self) -> tuple[Tensor, ...]:
        """Whether all that was asked was as presumed, as one flag; nothing where nothing was asked."""
        return (torch.stack(self._asked).all(),) if self._asked else ()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        known = [self._value(each) for each in args]
        if func in _ANSWERS and known[0] is not None and args[0].numel() == 1:
            flag = args[0].reshape(())
            # Turned so that true means as presumed, whichever way it was asked.
            self._asked.append(flag if known[0] else ~flag)
            return known[0]
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dtype is torch.bool:
            value = _BEGINS.get(func)
            if value is None and func in _FOLLOWS and None not in known[: _FOLLOWS[func][0]]:
                arity, combine = _FOLLOWS[func]
                value = bool(combine(*known[:arity]))
            if value is not None:
                self._known[id(found)] = found, value
        return found

    def _value(self, given: Any) -> bool | None:
        if isinstance(given, bool):
            return given
        return self._known[id(given)][1] if id(given) in self._known else None


def _named(names: str) -> list[Any]:
    """The functions and methods of these names."""
    every = [getattr(owner, name, None) for name in names.split() for owner in (torch, Tensor)]
    return [each for each in every if each is not None]


_ANSWERS = frozenset(_named("__bool__ item"))
_BEGINS = {
    **dict.fromkeys(_named("isnan isinf isposinf isneginf"), False),
    **dict.fromkeys(_named("isfinite"), True),
}
"""What such a function gives of finite numbers."""
_FOLLOWS: dict[Any, tuple[int, Callable[..., bool]]] = {
    **dict.fromkeys(_named("any all squeeze flatten reshape view clone detach"), (1, bool)),
    **dict.fromkeys(_named("logical_not bitwise_not __invert__"), (1, operator.not_)),
    **dict.fromkeys(_named("logical_or bitwise_or __or__ __ror__"), (2, operator.or_)),
    **dict.fromkeys(_named("logical_and bitwise_and __and__ __rand__"), (2, operator.and_)),
    **dict.fromkeys(_named("eq __eq__"), (2, operator.eq)),
    **dict.fromkeys(_named("ne __ne__"), (2, operator.ne)),
}
"""What follows of flags that are known: of how many, and how."""
