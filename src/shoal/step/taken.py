"""`tensor.item()` in a step that is mapped over runs: a number of each run's own, which can be computed with and kept.

It stays a tensor, of double precision as Python's numbers are. What needs the number itself, as a branch or an f-string
does, torch refuses where it is asked for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from shoal.step.beside_tensors import BesideTensors
from shoal.step.timed import Timed


class Taken(BesideTensors):
    """A number that each run has another one of; it is none, and says that it is."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        """`tensor` is of one element, float64 or int64."""
        self.tensor = tensor

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return float if self.tensor.is_floating_point() else int

    def beside(self, dtype: torch.dtype | None) -> Any:
        fits = dtype is not None and (dtype.is_floating_point or not self.tensor.is_floating_point())
        return self.tensor.to(dtype) if fits else self.tensor

    def __array__(self, *_: Any, **__: Any) -> Any:
        return float(self.tensor)

    def __truediv__(self, other: Any) -> Any:
        return _combined(operator.truediv, self.tensor.double(), other)

    def __rtruediv__(self, other: Any) -> Any:
        return _combined(lambda own, other: other / own, self.tensor.double(), other)


def item(tensor: Tensor) -> Any:
    """`torch.Tensor.item`; of a run of several, a number that stands for each run's own."""
    is_number = tensor.is_floating_point() or tensor.dtype in (torch.int64, torch.int32)
    if not _functorch.is_functorch_wrapped_tensor(tensor) or tensor.numel() != 1 or not is_number:
        return tensor.item()
    return Taken(tensor.detach().reshape(()).to(torch.float64 if tensor.is_floating_point() else torch.int64))


def as_tensor(value: Any) -> Tensor | None:
    """A number of Python's as a tensor, whether it is known or not; None for what is no number."""
    if type(value) is Taken:
        return value.tensor
    if type(value) is Timed:
        fractional = issubclass(value.__class__, float)
        return value.time_use.tensor(value.of, torch.float64 if fractional else torch.int64)
    if type(value) in (int, float):
        return torch.tensor(value, dtype=torch.float64 if type(value) is float else torch.int64)
    return None


def _combined(function: Callable[[Any, Any], Tensor], own: Tensor, other: Any) -> Any:
    if isinstance(other, Tensor):
        return NotImplemented  # it knows how to take this one
    value = as_tensor(other)
    return NotImplemented if value is None else Taken(function(own, value))


def _operation(function: Callable[[Any, Any], Tensor], *, turned: bool = False) -> Callable[[Taken, Any], Any]:
    if turned:
        return lambda self, other: _combined(lambda own, other: function(other, own), self.tensor, other)
    return lambda self, other: _combined(function, self.tensor, other)


def _decision(function: Callable[[Any, Any], Any]) -> Callable[[Taken, Any], Any]:
    return lambda self, other: NotImplemented if isinstance(other, Tensor) else bool(function(self.tensor, other))


def _made(function: Callable[[Any], Tensor]) -> Callable[[Taken], Taken]:
    return lambda self: Taken(function(self.tensor))


def _refused(self: Taken, *_: Any) -> Any:
    return float(self.tensor)  # which torch refuses


# Python looks for special methods in the class alone.
for _name in ("add", "sub", "mul", "floordiv", "mod", "pow"):
    setattr(Taken, f"__{_name}__", _operation(getattr(operator, _name)))
    setattr(Taken, f"__r{_name}__", _operation(getattr(operator, _name), turned=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Taken, f"__{_name}__", _decision(getattr(operator, _name)))
for _name in ("neg", "pos", "abs"):
    setattr(Taken, f"__{_name}__", _made(getattr(operator, _name)))
for _name in ("bool", "int", "float", "complex", "index", "hash", "repr", "str", "format", "round", "trunc"):
    setattr(Taken, f"__{_name}__", _refused)
