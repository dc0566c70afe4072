"""Classes that stand before those of a user's modules for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def standing_before(cls: type[nn.Module], watching: type, more: Mapping[str, Any]) -> type[nn.Module]:
    """A class like `cls`, with what `watching` has in place of its own.

    It is no base: an instance of a class whose first base is an ABC could not be given a class of two bases.
    """
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, **own_of(watching), **more})


def own_of(cls: type) -> dict[str, Any]:
    """What a class has itself, but for what Python gives every class."""
    return {name: value for name, value in vars(cls).items() if not (name.startswith("__") and name.endswith("__"))}
