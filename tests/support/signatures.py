"""Types and shapes in the signatures of shoal, checked at every call once `check` has been called.

What jaxtyping does for every call, whether or not its annotations name a shape, took a quarter of the time of the
tests. So only signatures with shapes go through it; the others are checked by beartype alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from types import FunctionType
from typing import Any

import jaxtyping

# An int will do for a float, as PEP 484 has it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
SHAPE = re.compile(r"\b(?:Bool|Float|Int|Integer|Num|Shaped)\d*\[")

FIRST = (
    "beartype",
    "filelock",
    "google_crc32c",
    "hydra",
    "matplotlib.figure",
    "pydantic.dataclasses",
    "pytorch_lightning",
    "tensorboard.backend.event_processing.event_accumulator",
    "torch.utils.tensorboard",
    "typer",
)
"""What shoal imports. A module that is first imported while the hook loads one of shoal's would be compiled anew each
time, since jaxtyping's loader then looks for its compiled form under another name."""

Checker = Callable[[Any], Any]
_with_shapes = jaxtyping.jaxtyped


def check() -> None:
    """Before anything imports shoal: check the signatures in all modules of it that are imported from now on."""
    for name in FIRST:
        import_module(name)
    jaxtyping.jaxtyped = checked  # by this name the hook's decorators call it
    jaxtyping.install_import_hook("shoal", CHECKER)


def checked(decorated: Any = None, *, typechecker: Checker) -> Any:
    """What jaxtyping's decorator does, by a shorter way where there are no shapes."""
    if decorated is None:
        return functools.partial(checked, typechecker=typechecker)
    if isinstance(decorated, type):
        if is_dataclass(decorated) and not hasattr(vars(decorated).get("__init__", check), "__wrapped__"):
            decorated.__init__ = checked(decorated.__init__, typechecker=typechecker)
        return decorated
    if isinstance(decorated, classmethod | staticmethod):
        return type(decorated)(checked(decorated.__func__, typechecker=typechecker))
    if isinstance(decorated, property):
        parts = decorated.fget, decorated.fset, decorated.fdel
        return property(*(part and checked(part, typechecker=typechecker) for part in parts))
    if isinstance(decorated, FunctionType) and not _names_a_shape(decorated):
        return functools.update_wrapper(typechecker(_resolved(decorated)), decorated)
    return _with_shapes(decorated, typechecker=typechecker)


def _names_a_shape(function: FunctionType) -> bool:
    return any(SHAPE.search(str(annotation)) for annotation in function.__annotations__.values())


def _resolved(function: FunctionType) -> FunctionType:
    """The function with annotations that are no strings."""
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, None, function.__closure__)
    functools.update_wrapper(twin, function)
    del twin.__wrapped__
    twin.__defaults__, twin.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    twin.__annotations__ = {
        name: _meaning(annotation, function.__globals__) for name, annotation in function.__annotations__.items()
    }
    return twin


def _meaning(annotation: Any, names: Mapping[str, Any]) -> Any:
    """What an annotation says; anything goes where it names what is imported for type checkers only."""
    try:
        return eval(annotation, dict(names)) if isinstance(annotation, str) else annotation
    except (NameError, AttributeError):
        return Any
