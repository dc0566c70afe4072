"""The derivatives of a function at a point or on an interval, three ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from shoal.errors import ConfigError, UsageError
from shoal.expressions import parse
from shoal.gradcheck import points
from shoal.gradcheck.agreement import Agreement
from shoal.gradcheck.analytic import Analytic, Names, Written, label
from shoal.gradcheck.differentiated import Differentiated, function
from shoal.gradcheck.points import Point, recorded
from shoal.gradcheck.three_ways import ANALYTIC, Along, Derivative, compared

TOLERANCE = 1e-6
"""Relative difference allowed between autograd and finite differences."""
_MOST_ORDER = 8
_MOST_ROWS = 1000
_NOTES = 3
"""Derivatives of which is said what is special."""
_WIDTH = 300
"""Characters of a formula that are shown."""


@dataclass(frozen=True)
class DerivativeCheck(Agreement):
    """What was found; `agrees` where autograd is right everywhere."""

    function: str
    at: str
    values: tuple[float, ...] | None
    """The function's value, or its values for the elements of vectors; None on an interval."""
    derivatives: tuple[Derivative, ...]
    formulas: dict[str, str] = field(hash=False)
    """Label -> the analytic derivative; of a function that branches, with the points where it is that."""
    without_formula: tuple[str, ...]
    """Why a Python function has no analytic derivative."""
    tolerance: float
    graph_in_training: bool
    """Whether the value needs a gradient in training; the next two tell it of evaluation and of a detached value."""
    graph_in_evaluation: bool
    graph_after_detach: bool

    @property
    def agrees(self) -> bool:
        return all(each.agrees for each in self.derivatives)

    @property
    def largest_disagreement(self) -> float:
        """Not a number where one of the derivatives is none."""
        found = [each.disagreement for each in self.derivatives]
        return math.nan if any(map(math.isnan, found)) else max(found)

    def plain(self) -> dict[str, Any]:
        """As lists, dictionaries and numbers, for JSON."""
        return asdict(self) | {"agrees": self.agrees, "largest_disagreement": self.largest_disagreement}

    def text(self) -> str:
        """What a terminal shows: value, each derivative (on an interval the worst place of each), the verdict."""
        lines = [f"{self.function}  at {self.at}"]
        if self.values is not None:
            lines.append(_line("value", [_number(value) for value in self.values]))
        lines.append(_line("", ["autograd", "analytic", "differences", "disagreement"]))
        lines += [_shown(each, place=self.values is None) for each in self._worst()]
        lines += [f"{name} = {_cut(text)}" for name, text in self.formulas.items()]
        lines += [f"no analytic derivative: {problem}" for problem in self.without_formula]
        return "\n".join([*lines, *self._verdict()])

    def _worst(self) -> list[Derivative]:
        if self.values is not None:
            return list(self.derivatives)
        worst: dict[str, Derivative] = {}
        for each in self.derivatives:
            # One that disagrees before a larger difference that is within what is allowed.
            known = worst.setdefault(each.label, each)
            if (not each.agrees, each.disagreement) > (not known.agrees, known.disagreement):
                worst[each.label] = each
        return list(worst.values())

    def _verdict(self) -> Iterator[str]:
        yield (
            f"graph: {_recorded(self.graph_in_training)} in training, {_recorded(self.graph_in_evaluation)} under "
            f"evaluation, {_recorded(self.graph_after_detach)} after detach"
        )
        for each in self.derivatives:
            if each.kink:
                left, right = each.kink
                slopes = f"{left:.6g} from the left, {right:.6g} from the right"
                yield f"no derivative: {each.label} at {each.at} is {slopes}"
        noted = [f"{each.label} at {each.at}: {each.note}" for each in self.derivatives if each.note]
        yield from noted[:_NOTES]
        if len(noted) > _NOTES:
            yield f"{len(noted) - _NOTES} more like these (--json shows all)"
        kinks = sum(each.kink is not None for each in self.derivatives)
        counts = {"DISAGREE": sum(not each.agrees for each in self.derivatives) - kinks, "at a KINK": kinks}
        wrong = [f"{n} of {len(self.derivatives)} {words}" for words, n in counts.items() if n]
        verdict = ", ".join(wrong) or "all agree"
        allowed = f"allowed: {self.tolerance:g} relative, {self.tolerance * ANALYTIC:g} from the analytic one"
        yield f"largest disagreement {self.largest_disagreement:.2g}: {verdict} ({allowed})"


def check(
    of: str | Callable[..., Tensor],
    *,
    at: points.Written | None = None,
    on: points.Written | None = None,
    order: int = 1,
    derivative: str | None = None,
    tolerance: float = TOLERANCE,
) -> DerivativeCheck:
    """Compare autograd's derivatives of `of`, up to `order`, with analytic ones and with finite differences.

    `of` is a formula, or a Python function as `module:function`. A function with several values is summed; of several
    variables, mixed derivatives are checked too. `at` is a point, `on` an interval: 100 points of it are checked.
    `derivative` is a formula for the first derivative of a function of one variable, in place of SymPy's. The
    derivative of a Python function is found from the operations of its forward; `without_formula` names one that has no
    formula.

    Raises:
        ShoalError: where an argument is not what it should be.
    """
    _check_order(order)
    if (at is None) == (on is None):
        raise UsageError("either a point or an interval is needed", hint="for example --at 1.234, or --on -3,3")
    # The names of the point may declare a formula's variables, so it is read first.
    given = points.named(at, "at") if at is not None else points.interval(on or "")
    made = function(of, list(given))
    if not made.variables:
        raise ConfigError(
            "expression", made.text, "has no variable to differentiate by", hint="for example sin(x)*x**2"
        )
    if at is not None:
        places = [points.assigned(points.named(at, "at"), made.variables, "at")]
    else:
        intervals = points.interval(on or "")
        if set(intervals) == {""}:
            intervals = dict.fromkeys(made.variables, intervals[""])
        places = points.spread(intervals)
        # For its complaints alone: of a variable without an interval, and an interval without a variable.
        points.assigned(places[0], made.variables, "on")
    analytic = _analytic(made, order, derivative)
    rows = [row for place in places for row in _derivatives(made, place, order, analytic, tolerance)]
    graph = _graph(made, places[0])
    return DerivativeCheck(
        function=made.text,
        at=points.shown(places[0]) if at is not None else f"{len(places)} points of {on}",
        values=tuple(made.values(places[0]).flatten().tolist()) if at is not None else None,
        derivatives=tuple(rows),
        formulas=analytic.formulas(),
        without_formula=tuple(analytic.problems()),
        tolerance=tolerance,
        graph_in_training=graph[0],
        graph_in_evaluation=graph[1],
        graph_after_detach=graph[2],
    )


def _check_order(order: int) -> None:
    if not 1 <= order <= _MOST_ORDER:
        raise ConfigError("order", order, f"must be from 1 to {_MOST_ORDER}")


def _analytic(of: Differentiated, order: int, derivative: str | None) -> Analytic:
    if derivative is not None:
        if len(of.variables) != 1:
            raise ConfigError("derivative", derivative, f"needs a function of one variable, not of {len(of.variables)}")
        return Written({of.variables: parse(derivative, variables=of.variables)}, given=True)
    orders = _orders(of.variables, order)
    if of.formula is None:
        # Late: SymPy takes a third of a second to import, and whoever trains has no need of it.
        from shoal.gradcheck.forward import Traced

        return Traced(of, orders)
    return Written({names: of.formula.derivative(*names) for names in orders})


def _orders(variables: tuple[str, ...], order: int) -> list[tuple[str, ...]]:
    """The variables of each derivative: single ones first, then pairs, and so on up to `order`."""
    # Combinations, as mixed derivatives are the same in any order.
    found = [names for k in range(1, order + 1) for names in combinations_with_replacement(variables, k)]
    if len(found) > _MOST_ROWS:
        raise ConfigError("order", order, f"asks for {len(found)} derivatives; at most {_MOST_ROWS}")
    return found


def _derivatives(
    of: Differentiated, place: Point, order: int, analytic: Analytic, tolerance: float
) -> Iterator[Derivative]:
    known = analytic.at(place)
    for names in _orders(of.variables, order):
        for i in range(place[names[-1]].numel()):
            along = Along(of, place, names, i)
            yield compared(
                label=label(names) + (f"[{i}]" if place[names[-1]].dim() else ""),
                at=points.shown(place),
                along=along,
                analytic=_by_element(along, known),
                tolerance=tolerance,
                again=partial(_again, along, analytic),
                given=analytic.given,
            )


def _again(along: Along, analytic: Analytic) -> float | None:
    return _by_element(along, analytic.again(along.place))


def _by_element(along: Along, known: Mapping[Names, Tensor]) -> float | None:
    found = known.get(along.names)
    return None if found is None else along.by_element(found)


def _graph(of: Differentiated, place: Point) -> tuple[bool, bool, bool]:
    leaves = recorded(place)
    value = of.call(**leaves)
    try:
        with torch.no_grad():
            evaluated = of.call(**leaves).requires_grad
    except UsageError:  # it differentiates on its way, for which there is nothing recorded then
        evaluated = False
    return value.requires_grad, evaluated, value.detach().requires_grad


def _shown(each: Derivative, *, place: bool) -> str:
    numbers = [each.autograd, each.analytic, each.differences]
    line = _line(
        each.label, [*("-" if value is None else _number(value) for value in numbers), f"{each.disagreement:.2g}"]
    )
    return line + (f"  {each.at}" if place else "") + ("" if each.agrees else "  KINK" if each.kink else "  DISAGREES")


def _cut(formula: str) -> str:
    """What a terminal shows of a formula; `plain` has all of it."""
    more = len(formula) - _WIDTH
    return formula if more <= 0 else f"{formula[:_WIDTH]}... ({more} characters more: --json)"


def _number(value: float) -> str:
    return f"{value:.10g}"


def _line(name: str, cells: list[str]) -> str:
    return f"{name:<10}" + "".join(f" {cell:>16}" for cell in cells)


def _recorded(recorded: bool) -> str:
    return "recorded" if recorded else "none"
