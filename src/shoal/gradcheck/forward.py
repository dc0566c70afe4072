"""Analytic derivatives of a Python function: those of the formula that its forward turns out to have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch import Tensor

from shoal.errors import ShoalError
from shoal.expressions.symbolic import real, written
from shoal.gradcheck import points
from shoal.gradcheck.analytic import Analytic, Names, label
from shoal.gradcheck.differentiated import Differentiated
from shoal.gradcheck.points import Point
from shoal.gradcheck.tracing import NoFormula, TracedFormula, matches, terms, traced

_MOST_TERMS = 20_000
"""Operands and operators of a derivative, all elements together."""
_SHOWN = 3
"""At most so many formulas of one derivative are shown, if the branches of a function differ."""


@dataclass
class Traced(Analytic):
    """Derivatives of a Python function, traced anew at each point: at a branch it has the formula of that branch."""

    of: Differentiated
    orders: Sequence[Names]
    derived: dict[Any, dict[Names, list[Any]]] = field(default_factory=dict)
    """Formula of the function -> its derivatives: an expression for each element of the last variable."""
    sizes: dict[Any, int] = field(default_factory=dict)
    """Of expressions, those of their parts included."""
    shown: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    """Label -> formula -> the points where it is that."""
    missing: dict[str, list[Point]] = field(default_factory=dict)
    """Why there is no formula -> the points."""
    last: tuple[TracedFormula, dict[Names, list[Any]]] | None = None
    """The formula of the function and its derivatives where they were asked for last; None where there were none."""

    def at(self, place: Point) -> Mapping[Names, Tensor]:
        try:
            return self._at(place)
        except NoFormula as error:
            problem = str(error)
        # SymPy calls itself as deep as a formula is.
        except (ShoalError, OverflowError, ValueError, RecursionError):
            problem = "its formula is too large to write down"
        self.missing.setdefault(problem, []).append(place)
        return {}

    def again(self, place: Point) -> Mapping[Names, Tensor]:
        return {} if self.last is None else _evaluated(*self.last, place)

    def _at(self, place: Point) -> Mapping[Names, Tensor]:
        # At once: where tracing fails here, `again` must not evaluate the formula of the place before.
        self.last = None
        trace = traced(self.of, place)
        # What is done outside of torch, as by NumPy, leaves no trace: the formula would lack it.
        if not real(trace.total) or not matches(trace, self.of, place):
            raise NoFormula("torch's operations on its arguments do not explain its values")
        derivatives = self._derivatives(trace, place)
        found = _evaluated(trace, derivatives, place)
        self.last = trace, derivatives
        # Of vectors the total is a sum that the user has not written.
        if all(symbols.ndim == 0 for symbols in trace.symbols.values()):
            self._show(self.of.text, written(trace.total), place)
        for names, row in derivatives.items():
            for name, text in _texts(names, row, trace):
                self._show(name, text, place)
        return found

    def _show(self, name: str, text: str, place: Point) -> None:
        self.shown.setdefault(name, {}).setdefault(text, []).append(place)

    def _derivatives(self, trace: TracedFormula, place: Point) -> dict[Names, list[Any]]:
        if trace.total not in self.derived:
            known: dict[Names, Any] = {(): trace.total}
            found: dict[Names, list[Any]] = {}
            for names in self.orders:
                # The derivative it would be derived from was given up, which was said there.
                if names[:-1] not in known:
                    continue
                row = [known[names[:-1]].diff(symbol) for symbol in trace.symbols[names[-1]].flat]
                problem = self._problem(row)
                if problem:
                    self.missing.setdefault(f"{label(names)} {problem}", []).append(place)
                    continue
                # A further derivative is that of the sum over elements, as autograd has it (`three_ways.autograd`).
                found[names], known[names] = row, sum(row, sympy.Integer(0))
            self.derived[trace.total] = found
        return self.derived[trace.total]

    def _problem(self, row: Sequence[Any]) -> str | None:
        if not all(map(real, row)):
            return "is not real"
        large = sum(terms(each, self.sizes) for each in row) > _MOST_TERMS
        return f"has more than {_MOST_TERMS} terms" if large else None

    def formulas(self) -> dict[str, str]:
        return {name: _branches(texts) for name, texts in self.shown.items()}

    def problems(self) -> Iterator[str]:
        for problem, places in self.missing.items():
            here = f" at {len(places)} points, as {points.shown(places[0])}" if len(places) > 1 else ""
            yield f"{problem}{here}"


def _evaluated(trace: TracedFormula, derivatives: Mapping[Names, Sequence[Any]], place: Point) -> dict[Names, Tensor]:
    """The derivatives at a place, each in the shape of its last variable."""
    return {
        names: torch.tensor([trace.value(each, place) for each in row], dtype=torch.float64).reshape(
            place[names[-1]].shape
        )
        for names, row in derivatives.items()
    }


def _branches(texts: Mapping[str, Sequence[Point]]) -> str:
    if len(texts) == 1:
        return next(iter(texts))
    parts = [f"{text} (at {len(at)} points, as {points.shown(at[0])})" for text, at in texts.items()]
    more = [f"{len(parts) - _SHOWN} more"] if len(parts) > _SHOWN else []
    return "; ".join(parts[:_SHOWN] + more)


def _texts(names: Names, row: Sequence[Any], trace: TracedFormula) -> Iterator[tuple[str, str]]:
    """The formulas of a derivative: one where it is the same for each element, else one an element."""
    common = {_common(each, number, trace) for number, each in enumerate(row)}
    if len(common) == 1 and None not in common:
        yield label(names), written(common.pop())
        return
    for symbol, each in zip(trace.symbols[names[-1]].flat, row, strict=True):
        yield label(names) + str(symbol).removeprefix(names[-1]), written(each)


def _common(found: Any, number: int, trace: TracedFormula) -> Any:
    """A formula with `x` for `x[number]`; None where it depends on other elements."""
    renamed = {
        symbols.flat[number]: sympy.Symbol(name)
        for name, symbols in trace.symbols.items()
        if symbols.ndim and number < symbols.size
    }
    numbers = {symbols.item() for symbols in trace.symbols.values() if not symbols.ndim}
    return found.xreplace(renamed) if found.free_symbols <= renamed.keys() | numbers else None
