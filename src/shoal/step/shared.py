"""What a whole program shares beside its own files: its environment, its context, and modules that others wrote."""

from __future__ import annotations

import builtins
import contextvars
import math
import os
import sys
from collections.abc import Iterator
from operator import is_
from types import ModuleType
from typing import Any

import numpy
import pytorch_lightning
import torch

_MODULES = (torch, torch.nn, torch.nn.functional, numpy, math, builtins, sys, pytorch_lightning)
"""Where programs put things of their own, or other functions in the places of those that are there."""
_NOT_THERE = object()


class Shared:
    """All of it, as it is when this is made."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._context = contextvars.copy_context()
        self._attributes = [dict(vars(home)) for home in _MODULES]

    def changed(self) -> Iterator[str]:
        """What is another now, as a program would write it."""
        if dict(os.environ) != self._environment:
            yield "os.environ"
        yield from (f"the context variable {variable.name}" for variable in self._other_variables())
        yield from (f"{home.__name__}.{name}" for home, name, _ in self._other_attributes())

    def put_back(self) -> None:
        """Let all of it be as it was."""
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        for variable in [*self._other_variables()]:
            variable.set(_in(self._context, variable))
        for home, name, value in [*self._other_attributes()]:
            if value is _NOT_THERE:
                delattr(home, name)
            else:
                setattr(home, name, value)

    def _other_variables(self) -> Iterator[contextvars.ContextVar[Any]]:
        for variable, value in contextvars.copy_context().items():
            if _in(self._context, variable) is not value:
                yield variable

    def _other_attributes(self) -> Iterator[tuple[ModuleType, str, Any]]:
        for home, before in zip(_MODULES, self._attributes, strict=True):
            now = vars(home)
            # By functions in C: torch alone has two thousand of them.
            if len(now) == len(before) and all(map(is_, now.values(), before.values())):
                continue
            for name in {**before, **now}:
                old, new = before.get(name, _NOT_THERE), now.get(name, _NOT_THERE)
                # What is imported becomes an attribute, and modules have caches of their own.
                if old is not new and name[0] != "_" and not isinstance(new, ModuleType):
                    yield home, name, old


def _in(context: contextvars.Context, variable: contextvars.ContextVar[Any]) -> Any:
    """What a variable is in a context: its default where it was never set."""
    if variable in context:
        return context[variable]
    try:
        return contextvars.Context().run(variable.get)
    except LookupError:  # it has none
        return _NOT_THERE
