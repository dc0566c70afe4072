"""The constructor that `_target_` names: the settings that it takes, and what it allows them to be."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Union, get_type_hints

from shoal.build.dotted_path import located

_CALLABLE = Union[Any, Callable[..., Any]]  # noqa: UP007  Any | Callable would be Any


@dataclass(frozen=True)
class Constructor:
    """A class or function, with what its parameters allow."""

    call: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]
    hints: Mapping[str, Any]
    open: bool
    """Whether it takes settings of any name."""
    places: tuple[str, ...] = ()
    """Names of the parameters that can be given by their place, in order."""
    rest: str | None = None
    """Name of the parameter that takes any further ones."""

    @property
    def required(self) -> list[str]:
        """Parameters without a default."""
        return [name for name, parameter in self.parameters.items() if parameter.default is inspect.Parameter.empty]

    def without(self, *names: str) -> Constructor:
        """The constructor without some parameters, which the program gives."""
        return replace(self, parameters={name: each for name, each in self.parameters.items() if name not in names})


@functools.cache
def constructor(path: str) -> Constructor:
    """The constructor that `_target_: path` names.

    Raises:
        ValueError: where there is none; its message ends a sentence that begins with the path.
    """
    call = located(path)
    try:
        found = inspect.signature(call).parameters
    except ValueError:  # written in C, it says nothing of its parameters
        return Constructor(call, {}, {}, open=True, rest="_args_")
    kinds = inspect.Parameter
    named = {name: each for name, each in found.items() if each.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)}
    return Constructor(
        call,
        named,
        {**_by_defaults(named), **_hints(call)},
        open=any(each.kind is kinds.VAR_KEYWORD for each in found.values()),
        places=tuple(name for name, each in named.items() if each.kind is not kinds.KEYWORD_ONLY),
        rest=next((name for name, each in found.items() if each.kind is kinds.VAR_POSITIONAL), None),
    )


def _by_defaults(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """What defaults tell of parameters without an annotation: where one is a function or a class, so may a value be."""
    kinds = ((name, each.default) for name, each in parameters.items() if each.default is not inspect.Parameter.empty)
    # Or anything else: the code may know words of its own, such as relu.
    return {name: _CALLABLE for name, each in kinds if inspect.isroutine(each) or inspect.isclass(each)}


def _hints(call: Callable[..., Any]) -> dict[str, Any]:
    """Annotations with their ranges; none for a constructor whose annotations cannot be evaluated."""
    dataclass_like = inspect.isclass(call) and hasattr(call, "__dataclass_fields__")
    # A dataclass itself, not its `__init__`: inherited annotations are then read in the module they were written in.
    source = call if dataclass_like or not inspect.isclass(call) else call.__init__
    try:
        hints = get_type_hints(source, include_extras=True)
    except (NameError, TypeError):
        return {}
    hints.pop("return", None)
    # An annotation that is a module is a slip of whoever wrote it, and no guide.
    return {name: hint for name, hint in hints.items() if not isinstance(hint, types.ModuleType)}
