"""The formula of a Python function, read from the operations that it does at a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from shoal.expressions import Expression
from shoal.expressions.expression import from_sympy
from shoal.gradcheck.differentiated import Differentiated
from shoal.gradcheck.points import Point, recorded
from shoal.gradcheck.symbolic_operations import FLAT, RULES, Elements, Operation, elements
from shoal.gradcheck.views import ALIASES

MOST_ELEMENTS = 256
"""Of all variables together."""
MOST_TERMS = 1000
"""Operands and operators of a formula, all elements of a tensor together."""


class NoFormula(Exception):
    """What was done has no formula; the message says what."""


@dataclass(frozen=True)
class TracedFormula:
    """The formula of a function as it is around one point."""

    total: Any
    """The sum of its values as a SymPy expression."""
    symbols: Mapping[str, Elements]
    """The symbols of each variable, one for each element: `x` for a number, `x[0]` and so on for a vector."""

    def value(self, found: Any, place: Point) -> float:
        """What an expression in these symbols is at `place`.

        Raises:
            ShoalError, OverflowError, ValueError, RecursionError: where it is too large to evaluate.
        """
        expression, names = _compiled(found)
        known = {
            str(symbol): number
            for name, symbols in self.symbols.items()
            for symbol, number in zip(symbols.flat, place[name].flatten(), strict=True)
        }
        values = {variable: known[name] for variable, name in zip(expression.variables, names, strict=True)}
        return expression(**values).item()


def traced(of: Differentiated, place: Point) -> TracedFormula:
    """The formula of `of`, in which Python's branches are as they are taken at `place`.

    Raises:
        NoFormula: where an operation has none, or it grows too large.
    """
    if sum(value.numel() for value in place.values()) > MOST_ELEMENTS:
        raise NoFormula(f"more than {MOST_ELEMENTS} elements")
    leaves = recorded(place)
    symbols = {name: _symbols(name, value) for name, value in leaves.items()}
    shadows = Shadows()
    for name, leaf in leaves.items():
        shadows.write(leaf, symbols[name])
    with shadows:
        value = of.call(**leaves)
    if shadows.problem:
        raise NoFormula(shadows.problem)
    return TracedFormula(sympy.sympify(np.sum(shadows.read(value))), symbols)


def _symbols(name: str, value: Tensor) -> Elements:
    found = np.empty(value.shape, dtype=object)
    for place in np.ndindex(found.shape):
        found[place] = sympy.Symbol(f"{name}[{','.join(map(str, place))}]" if place else name)
    return found


class Shadows(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Beside the memory of each tensor that depends on the variables lies a row of expressions for the numbers in it.

    So a view, a detached tensor and one written in place have the right expressions without a rule of their own.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: dict[int, tuple[Any, Any]] = {}
        self.sizes: dict[Any, int] = {}
        self.problem: str | None = None
        """The first operation that has no formula: from there on nothing is followed."""

    def read(self, tensor: Tensor) -> Elements:
        """The expressions of a tensor; numbers where it does not depend on the variables."""
        return self._view(tensor) if self._known(tensor) else elements(tensor)

    def write(self, tensor: Tensor, found: Elements) -> None:
        """Put expressions beside the numbers of a tensor."""
        if not self._known(tensor):
            storage = tensor.untyped_storage()
            flat = torch.empty(0, dtype=tensor.dtype).set_(storage)
            # With the storage itself: once it is freed, another tensor may get its address.
            self.rows[storage.data_ptr()] = storage, elements(flat)
        self._view(tensor)[...] = found

    def _known(self, tensor: Tensor) -> bool:
        return tensor.numel() > 0 and tensor.untyped_storage().data_ptr() in self.rows

    def _view(self, tensor: Tensor) -> Elements:
        row = self.rows[tensor.untyped_storage().data_ptr()][1]
        strides = [stride * row.itemsize for stride in tensor.stride()]
        # A view of the row: what is written through it is read by every other view of the tensor's memory.
        return np.lib.stride_tricks.as_strided(row[tensor.storage_offset() :], tuple(tensor.shape), strides)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        followed = any(map(self._known, _tensors([*args, *kwargs.values()])))
        alias = func.is_view or torch.Tag.inplace_view in func.tags or name in ALIASES
        if self.problem or not followed or alias:
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            # In place it is the same operation.
            name = name.removesuffix("_")
        if name not in RULES and name not in FLAT:
            # Within its own dispatch a mode is off, and the parts are to be followed too.
            with self:
                parts = decomposition_table.get(func, func.decompose)(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        try:
            # Before torch does it: in place it would write over what the rule reads.
            found = self._followed(name, func, args, kwargs)
        except NoFormula as error:
            self.problem, found = str(error), None
        except (NotImplementedError, TypeError, ValueError, IndexError):
            # Arguments in a form that the rule does not know are as good as no rule.
            self.problem, found = f"the operation {name} has no formula here", None
        result = func(*args, **kwargs)
        self._keep(result, found, in_place=func._schema.is_mutable)
        return result

    def _followed(self, name: str, func: Any, args: Any, kwargs: Any) -> Elements | None:
        """The result as expressions; None where it does not change when the variables change a little."""
        if name == "_local_scalar_dense":
            if args[0].is_floating_point():
                raise NoFormula("it takes a number out of a tensor, as .item() does")
            return None
        if name in FLAT or kwargs.get("rounding_mode"):
            return None
        if name in ("_to_copy", "convert_element_type"):
            return self._copied(args[0], kwargs.get("dtype") or next(iter(args[1:]), args[0].dtype))
        if name not in RULES:
            if not func._schema.is_mutable and not any(map(_continuous, _tensors([func(*args, **kwargs)]))):
                return None
            raise NotImplementedError
        operation = Operation(func, args, self._read_all(args), kwargs)
        found = np.asarray(RULES[name](operation), dtype=object)
        if sum(terms(each, self.sizes) for each in found.flat) > MOST_TERMS:
            raise NoFormula(f"its formula has more than {MOST_TERMS} terms")
        return found

    def _copied(self, tensor: Tensor, dtype: torch.dtype) -> Elements | None:
        if dtype.is_complex:
            raise NoFormula("it uses complex numbers")
        if dtype.is_floating_point and dtype != torch.float64:
            raise NoFormula(f"it rounds to {str(dtype).removeprefix('torch.')}")
        return self.read(tensor).copy() if dtype.is_floating_point else None

    def _read_all(self, given: Any) -> Any:
        if isinstance(given, list | tuple):
            return [self._read_all(each) for each in given]
        return self.read(given) if isinstance(given, Tensor) else given

    def _keep(self, result: Any, found: Elements | None, *, in_place: bool) -> None:
        if self.problem or not (found is not None or in_place):
            return
        # The first alone: what `sort` or `max` gives beside the values are places.
        changed = next(_tensors([result]))
        if found is None:
            # Something flat was written over it in place: its numbers are all that is known of it now.
            found = elements(changed)
        shape = tuple(changed.shape)
        self.write(changed, found.reshape(shape) if found.size == changed.numel() else np.broadcast_to(found, shape))


def terms(found: Any, known: dict[Any, int]) -> int:
    """Operands and operators of an expression; those of its parts are remembered in `known`."""
    if found not in known:
        known[found] = 1 + sum(terms(each, known) for each in found.args)
    return known[found]


def _continuous(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _tensors(given: Any) -> Iterator[Tensor]:
    for each in given:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from _tensors(each)


def matches(trace: TracedFormula, of: Differentiated, place: Point) -> bool:
    """Whether the formula gives the function's values at `place` and on one side of it at least."""
    return _equal(trace, of, place) and any(_equal(trace, of, _moved(place, step)) for step in (1e-4, -1e-4))


def _moved(place: Point, step: float) -> dict[str, Tensor]:
    return {name: value + step * (1 + value.abs()) for name, value in place.items()}


def _equal(trace: TracedFormula, of: Differentiated, place: Point) -> bool:
    values = of.values(place).flatten().tolist()
    found, size = trace.value(trace.total, place), math.fsum(map(abs, values))
    return math.isclose(found, math.fsum(values), rel_tol=1e-7, abs_tol=1e-11 * (1 + size))


# The same expression is asked for at every point of an interval.
@lru_cache(maxsize=4096)
def _compiled(found: Any) -> tuple[Expression, tuple[str, ...]]:
    """A SymPy expression to evaluate, and the names of its symbols in the order of the variables it then has."""
    symbols = sorted(found.free_symbols, key=str)
    names = tuple(f"v{number}" for number in range(len(symbols)))
    # A formula's grammar has no names such as `x[0]`.
    renamed = found.xreplace(dict(zip(symbols, map(sympy.Symbol, names), strict=True)))
    return from_sympy(renamed, names), tuple(map(str, symbols))
