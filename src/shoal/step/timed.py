"""Numbers that follow from the time of a step: the epoch, the batch's number, the steps done, and what is made of them.

While a step is traced it is given these in place of plain numbers. Where one meets tensors it becomes an input of the
trace, computed anew at each call; where the step decides by one, the trace holds for the times at which the decision is
the same. What asks for the number itself, as an index or `math.exp` does, is given it, and then the trace is of no use.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from shoal.step.beside_tensors import BesideTensors

Now = tuple[int, int, int]
"""Epochs done, batches done in this epoch, optimizer steps done."""
SLOTS = 8
"""Numbers that a trace may have as inputs."""
_MOST = 20
"""Decisions of a step, at most. Of all the ways that it could go then, a training meets a few."""


class TimeUse:
    """What one trace of a step makes of the time, and of what hooks set anew from time to time."""

    def __init__(self, now: Now) -> None:
        self.now = now
        self.decisions: list[tuple[Callable[[Now], Any], Any]] = []
        """What the step has decided by, and how it was at `now`."""
        self.slots: list[Callable[[Now], float]] = []
        """The numbers that are inputs."""
        self.told = False
        """Whether the step was given a number itself: then it is traced for nothing."""
        self.lacks = False
        """Whether there was no place for such an input."""
        self.given: Tensor | None = None
        """Those inputs of the run whose step is traced, of shape (SLOTS,)."""

    @property
    def timeless(self) -> bool:
        """Whether the step has not looked at the time."""
        return not self.decisions and not self.slots and not self.told

    def holds(self, now: Now) -> bool:
        """Whether the step would decide the same at this time."""
        return all(of(now) == outcome for of, outcome in self.decisions)

    def values(self, now: Now) -> list[float]:
        """The inputs at this time, as many as there are slots."""
        found = [float(of(now)) for of in self.slots]
        return found + [0.0] * (SLOTS - len(found))

    def decided(self, of: Callable[[Now], Any]) -> Any:
        """How something is now, noted as a condition of the trace."""
        if len(self.decisions) == _MOST:
            return self.number(of)
        outcome = of(self.now)
        # After it was told a number, how a step goes on says nothing of other times.
        if not self.told:
            self.decisions.append((of, outcome))
        return outcome

    def followed(self, of: Callable[[Now], Any]) -> Any:
        """What may be another thing at other times, as an attribute that hooks set."""
        kind = self.decided(lambda now: type(of(now)))
        if kind in (int, float):
            return Timed(self, of)
        return self.decided(of) if kind in (bool, str, type(None)) else self.number(of)

    def number(self, of: Callable[[Now], Any]) -> Any:
        """A number itself."""
        self.told = True
        return of(self.now)

    def tensor(self, of: Callable[[Now], Any], dtype: torch.dtype) -> Tensor:
        """A number as an input of the trace, of one element."""
        if self.given is None or len(self.slots) == SLOTS:
            self.lacks = True
            return torch.tensor(self.number(of), dtype=dtype)
        self.slots.append(of)
        return self.given[len(self.slots) - 1].to(dtype)


class Timed(BesideTensors):
    """A number that is another one at other times.

    It is no number to Python's functions in C, which would take one by its value without asking, but says that it is:
    that says nothing of which it is.
    """

    __slots__ = ("of", "time_use")

    def __init__(self, time_use: TimeUse, of: Callable[[Now], Any]) -> None:
        self.time_use = time_use
        self.of = of

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.of(self.time_use.now))

    @property
    def value(self) -> Any:
        """The number as it is now, which the trace is told."""
        return self.time_use.number(self.of)

    def __bool__(self) -> bool:
        return bool(self.time_use.decided(lambda now: bool(self.of(now))))

    def __divmod__(self, other: Any) -> Any:
        own: Any = self
        return own // other, own % other

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as torch and NumPy ask what kind of an array it is
            raise AttributeError(name)
        return getattr(self.value, name)

    def __array__(self, *_: Any, **__: Any) -> Any:
        return numpy.asarray(self.value)

    def beside(self, dtype: torch.dtype | None) -> Any:
        fits = dtype is not None and (dtype.is_floating_point or isinstance(self, int))
        return self.time_use.tensor(self.of, dtype) if dtype is not None and fits else self.value


def _operation(function: Callable[..., Any], *, turned: bool = False) -> Callable[[Timed, Any], Any]:
    """A method that makes a number of this one and another."""

    def method(self: Timed, other: Any) -> Any:
        if isinstance(other, Tensor):
            return NotImplemented  # it knows how to take this one (`__torch_function__`)
        both = _both(function, self, other, turned=turned)
        return Timed(self.time_use, both) if both else _by_value(function, self, other, turned=turned)

    return method


def _decision(function: Callable[..., Any]) -> Callable[[Timed, Any], Any]:
    """A method that compares it."""

    def method(self: Timed, other: Any) -> Any:
        if isinstance(other, Tensor):
            return NotImplemented
        both = _both(function, self, other)
        return self.time_use.decided(both) if both else _by_value(function, self, other)

    return method


def _both(
    function: Callable[..., Any], timed: Timed, other: Any, *, turned: bool = False
) -> Callable[[Now], Any] | None:
    """What a function gives of both at a time; None where the other is no number of Python's."""
    first, second = timed.of, _of(other)
    if second is None:
        return None
    if turned:
        first, second = second, first
    return lambda now: function(first(now), second(now))


def _of(value: Any) -> Callable[[Now], Any] | None:
    if type(value) is Timed:
        return value.of
    return (lambda now: value) if type(value) in (bool, int, float) else None


def _by_value(function: Callable[..., Any], timed: Timed, other: Any, *, turned: bool = False) -> Any:
    return function(other, timed.value) if turned else function(timed.value, other)


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that makes a number of it alone."""
    return lambda self, *args: Timed(self.time_use, lambda now: function(self.of(now), *args))


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that gives what is no number of Python's own kinds any longer."""
    return lambda self, *args: function(self.value, *args)


# Python looks for special methods in the class alone.
_Functions = Mapping[str, Callable[..., Any]]
_MADE: _Functions = {"round": round, "floor": math.floor, "ceil": math.ceil, "trunc": math.trunc}
_TOLD: _Functions = {"int": int, "float": float, "complex": complex, "index": operator.index}
_TOLD = {**_TOLD, "hash": hash, "repr": repr, "str": str, "format": format}
for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor"]:
    _function, _plain = getattr(operator, _name), _name.rstrip("_")
    setattr(Timed, f"__{_plain}__", _operation(_function))
    setattr(Timed, f"__r{_plain}__", _operation(_function, turned=True))
for _name in ["eq", "ne", "lt", "le", "gt", "ge"]:
    setattr(Timed, f"__{_name}__", _decision(getattr(operator, _name)))
for _name in ["neg", "pos", "abs", "invert"]:
    setattr(Timed, f"__{_name}__", _made(getattr(operator, _name)))
for _name, _function in _MADE.items():
    setattr(Timed, f"__{_name}__", _made(_function))
for _name, _function in _TOLD.items():
    setattr(Timed, f"__{_name}__", _told(_function))
