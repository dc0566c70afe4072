"""Formulas as text: parsed by a grammar of their own, never run as Python; on tensors, and differentiated by SymPy."""

from shoal.expressions.domain import pole
from shoal.expressions.expression import Expression, parse
from shoal.expressions.parser import VARIABLE, defined_in, names_in

__all__ = ["VARIABLE", "Expression", "defined_in", "names_in", "parse", "pole"]
