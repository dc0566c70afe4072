"""What a dotted path in a configuration leads to."""

from __future__ import annotations

import importlib
import pkgutil
import types
from pathlib import Path
from typing import Any

from shoal.errors import brief, nearest
from shoal.startup import complete_torch

_WELL_KNOWN = frozenset({"shoal", "torch", "pytorch_lightning", "lightning"})
NOT_A_PATH = "must name a class, as module.Class"


def located(path: str) -> Any:
    """The class or function at a dotted path: the longest importable module, then attributes.

    Raises:
        ValueError: where there is none; its message ends a sentence that begins with the path.
    """
    words = path.split(".")
    if len(words) < 2 or not all(words):
        raise ValueError(NOT_A_PATH)
    # The longest first: `a.b.C.make` may be a method of a class in the module `a.b`.
    for n in range(len(words) - 1, 0, -1):
        name = ".".join(words[:n])
        if words[0] not in _WELL_KNOWN:
            # Before code that may use parts of torch that shoal starts without.
            complete_torch()
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Missing is this path itself; else it is there, and lacks something that it imports.
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                continue
            raise ValueError(f"cannot be imported: {error}") from error
        except Exception as error:
            raise ValueError(f"cannot be imported: {brief(error)}") from error
        return _attribute(found, words[n:], name)
    module = ".".join(words[:-1])
    raise ValueError(f"no module {module} can be imported; the working directory is {Path.cwd()}")


def _attribute(found: Any, words: list[str], module: str) -> Any:
    """What these names lead to from a module, one within the other."""
    whole = module
    for place, word in enumerate(words, 1):
        if not hasattr(found, word):
            guess = nearest(word, _public(found))
            meant = ".".join([whole, guess, *words[place:]]) if guess else None
            raise ValueError(f"there is no {whole}.{word}" + (f"; did you mean {meant}?" if meant else ""))
        found, whole = getattr(found, word), f"{whole}.{word}"
    if not callable(found) or isinstance(found, types.ModuleType):
        raise ValueError("is not a class or a function")
    return found


def _public(found: Any) -> list[str]:
    """Names of what is within a module or a class: classes, functions and further modules."""
    # Modules that nobody has imported are no attributes yet.
    modules = [module.name for module in pkgutil.iter_modules(getattr(found, "__path__", []))]
    callables = [name for name in dir(found) if callable(getattr(found, name, None))]
    return [name for name in [*callables, *modules] if not name.startswith("_")]
