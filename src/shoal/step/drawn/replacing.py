"""Gives a step its own random numbers, whatever function of torch's it asks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from shoal.step.drawn.numbers import NotDrawnError, RandomNumbers
from shoal.step.drawn.replacements import REPLACEMENTS
from shoal.step.recurrent import LAYERS, is_padded

_OPENED = frozenset(
    [
        *(functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d),
        *(functional.alpha_dropout, functional.feature_alpha_dropout, functional.rrelu, functional.gumbel_softmax),
        functional.multi_head_attention_forward,
    ]
)
"""Functions in Python that call some of these, or `torch.rand`."""
_FRESH = """
    zeros ones empty full tensor as_tensor arange linspace logspace eye
    zeros_like ones_like empty_like full_like rand_like scalar_tensor
"""


class Drawing(TorchFunctionMode):
    """While it is on, functions that draw at random give the numbers of a step.

    Those that are not known here, or are given a generator, are left to torch, whose mapping over runs refuses them.
    """

    def __init__(self, numbers: RandomNumbers, *, fresh: bool = False) -> None:
        """`fresh` says to let tensors that the step makes be each run's own, so that it can write to them."""
        super().__init__()
        self._draws = numbers
        self._fresh = fresh
        self._depth = _mappings()
        self.drawn = False
        """Whether anything was drawn."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in _OPENED:
            # torch takes the mode off while it is asked; what the function calls has to come here, too.
            with self:
                return _opened(func)(*args, **given)
        replacement = REPLACEMENTS.get(func)
        if replacement and _draws(func, args, given) and given.get("generator") is None and _mappings() == self._depth:
            try:
                found = replacement(self._draws, *args, **given)
            except NotDrawnError:
                return func(*args, **given)
            self.drawn = True
            return found
        found = func(*args, **given)
        return self._own(found) if self._fresh and func in _makers() and isinstance(found, Tensor) else found

    def _own(self, value: Tensor) -> Tensor:
        """The same numbers, copied for each run where the step is mapped over runs."""
        # A flag that comes of the key is each run's own to the mapping, and so is what is chosen by it.
        always = self._draws.own == self._draws.own
        return torch.where(always, value, value)


@contextmanager
def unvalidated() -> Iterator[None]:
    """Let the distributions of torch not look at the values they are given, which a mapping over runs cannot."""
    module: Any = sys.modules.get("torch.distributions.distribution")
    if module is None:
        yield
        return
    before = module.Distribution._validate_args
    module.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        module.Distribution.set_default_validate_args(before)


def _draws(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call draws: attention and recurrent layers do where they drop out."""
    if func in LAYERS:
        return is_padded(args) and bool(args[4] > 1 and args[5] and args[6])
    if func is not functional.scaled_dot_product_attention:
        return True
    return bool(args[4] if len(args) > 4 else kwargs.get("dropout_p"))


def _mappings() -> int:
    """How many of functorch's mappings a call stands in: in one of the step's own the key is the same throughout."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    return sum(each.key() == torch._C._functorch.TransformType.Vmap for each in stack)


@cache
def _makers() -> frozenset[Any]:
    """Functions that make a tensor of no other one."""
    return frozenset(getattr(torch, name) for name in _FRESH.split())


@cache
def _opened(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch's as it goes on where no mode is on: what it calls comes to the mode then."""
    assert isinstance(function, FunctionType)
    unasked = {name: _never for name in function.__globals__ if name.startswith("has_torch_function")}
    opened = FunctionType(
        function.__code__, {**function.__globals__, **unasked}, function.__name__, function.__defaults__
    )
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened


def _never(*_: Any) -> bool:
    return False
