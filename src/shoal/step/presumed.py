"""Whether the numbers of a step are finite, variances or classes, where it asks: presumed, and kept if it was so."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
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
        if func is functional.gaussian_nll_loss:
            return self._gaussian(*args, **(kwargs or {}))
        if func is functional.one_hot:
            return self._one_hot(*args, **(kwargs or {}))
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

    def _gaussian(
        self,
        input: Tensor,
        target: Tensor,
        var: Tensor | float,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> Tensor:
        """`torch.nn.functional.gaussian_nll_loss`, which asks if a variance is negative; none is presumed to be."""
        variance = var if isinstance(var, Tensor) else torch.full_like(input, var)
        self._asked.append((variance >= 0).all())
        if variance.dim() < input.dim():
            variance = variance.unsqueeze(-1)
        # As in torch: below the bound, the gradient passes all the same.
        variance = variance.clone()
        with torch.no_grad():
            variance.copy_(variance.clamp(min=eps))
        found = 0.5 * (variance.log() + (input - target) ** 2 / variance)
        found = found + 0.5 * math.log(2 * math.pi) if full else found
        return found if reduction == "none" else found.sum() if reduction == "sum" else found.mean()

    def _one_hot(self, tensor: Tensor, num_classes: int = -1) -> Tensor:
        """`torch.nn.functional.one_hot`, which asks if there is a class for each number; there is presumed to be."""
        if type(num_classes) is not int or num_classes < 1:
            return functional.one_hot(tensor, num_classes)
        self._asked.append(((tensor >= 0) & (tensor < num_classes)).all())
        return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).long()

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
