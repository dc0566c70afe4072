"""Formulas as text: parsed by a grammar of their own, never run as Python; on tensors, and differentiated by SymPy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shoal.expressions.parser import VARIABLE, defined_in, names_in

if TYPE_CHECKING:
    from shoal.expressions.domain import pole
    from shoal.expressions.expression import Expression, parse

_HOMES = {
    "Expression": "shoal.expressions.expression",
    "parse": "shoal.expressions.expression",
    "pole": "shoal.expressions.domain",
}
"""What needs torch, which is imported when it is asked for: to read a formula takes none."""

__all__ = ["VARIABLE", "Expression", "defined_in", "names_in", "parse", "pole"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'shoal.expressions' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
