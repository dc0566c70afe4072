"""One derivative at one point, three ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoal.gradcheck.differences import Differences, differences
from shoal.gradcheck.differentiated import Differentiated, failures
from shoal.gradcheck.points import Point, recorded
from shoal.gradcheck.rounding import rounding
from shoal.gradcheck.slopes import Slope

ANALYTIC = 1e-3
"""The analytic derivative has to be nearer than finite differences have: by this factor."""
_UNCERTAIN = 10
"""How many times their own uncertainty derivatives may be off."""
_TOLD = 1e-3
"""An uncertainty above this share of the derivative tells nothing."""
_NOTHING = 1e-9
"""What is this share of the slopes around it is as good as zero."""


@dataclass(frozen=True)
class Derivative:
    """One derivative at one point, three ways."""

    label: str
    """`d/dx`, `d2/dxdy`, `d/dx[1]` for an element of a vector."""
    at: str
    autograd: float
    analytic: float | None
    """By SymPy or as given; None where neither is there."""
    differences: float
    """nan where they can tell nothing: the function is not finite around, or too rough."""
    disagreement: float
    """The larger of autograd's differences from the others."""
    agrees: bool
    kink: tuple[float, float] | None
    """Derivatives from the left and the right, where they are not the same."""
    note: str
    """What is special about it: it has one side alone, or finite differences tell nothing."""


@dataclass(frozen=True)
class Along:
    """Autograd's derivative of one order less, as a function of one element of the last variable."""

    of: Differentiated
    place: Point
    names: tuple[str, ...]
    element: int

    def __call__(self, value: float) -> Tensor:
        place = self.moved(value)
        return autograd(self.of, place, self.names[:-1]) if len(self.names) > 1 else self.of.values(place)

    def slope(self, value: float) -> float:
        """Autograd's own derivative there."""
        return self.by_element(autograd(self.of, self.moved(value), self.names))

    def by_element(self, derivatives: Tensor) -> float:
        """The derivative by this element, out of those by all elements."""
        return derivatives.flatten()[self.element].item()

    def moved(self, value: float) -> Point:
        """The place with another value for the element."""
        moved = self.place[self.names[-1]].clone()
        # In a copy, as the place is everybody's.
        moved.view(-1)[self.element] = value
        return {**self.place, self.names[-1]: moved}

    @property
    def here(self) -> float:
        return self.by_element(self.place[self.names[-1]])


@dataclass(frozen=True)
class _Lost:
    """What rounding does to each of the three."""

    values: Tensor
    """Those of the function, or of autograd's derivative of one order less."""
    autograd: float
    analytic: float


_NOTHING_LOST = _Lost(torch.zeros(()), 0.0, 0.0)


@dataclass(frozen=True)
class _Judged:
    """Whether autograd is right, and by how much it is apart from the others."""

    differences: float
    disagreement: float
    agrees: bool
    kink: tuple[float, float] | None
    note: str


def compared(
    *,
    label: str,
    at: str,
    along: Along,
    analytic: float | None,
    tolerance: float,
    again: Callable[[], float | None] = lambda: None,
    given: bool = False,
) -> Derivative:
    """Autograd's derivative beside the analytic one and that of the values around.

    `again` computes the analytic one anew; `given` says that the user wrote it: then its having no value is a mistake.
    """
    autograd, notes = along.slope(along.here), []
    if analytic is not None and math.isnan(analytic) and math.isfinite(autograd) and not given:
        # x**y*y/x is 0/0 at 0, where x**2 has a derivative: a matter of how SymPy writes it.
        notes.append("its formula has no value there")
        analytic = None
    judged = _judged(autograd, analytic, differences(along, along.here), tolerance)
    if not judged.agrees:
        # Only where it would be an alarm: all three are computed several times over.
        lost = _lost(along, again)
        allowing = _judged(autograd, analytic, differences(along, along.here, lost=lost.values), tolerance, lost)
        if allowing.agrees:
            judged = allowing
            notes.append("its digits are lost where terms of the function cancel")
    return Derivative(
        label,
        at,
        autograd,
        analytic,
        judged.differences,
        disagreement=judged.disagreement,
        agrees=judged.agrees,
        kink=judged.kink,
        note=", ".join([*notes, *([judged.note] if judged.note else [])]),
    )


def _judged(
    autograd: float, analytic: float | None, found: Differences, tolerance: float, lost: _Lost = _NOTHING_LOST
) -> _Judged:
    size = max((abs(each) for each in (autograd, analytic or 0.0) if math.isfinite(each)), default=0.0)
    best = _nearest(found, autograd)
    numeric, symbolic = _apart(autograd, best.value), 0.0 if analytic is None else _apart(autograd, analytic)
    close = numeric <= tolerance * max(size, abs(best.value))
    told = best.uncertainty <= max(_TOLD * size, _NOTHING * found.scale)
    # The second term is for slopes that are as good as zero, of which a share allows nothing.
    allowed = ANALYTIC * (tolerance * size + _NOTHING * found.scale)
    proven = symbolic <= allowed + _UNCERTAIN * (lost.autograd + lost.analytic)
    note = f"from the {found.side} alone" if found.side else ""
    if math.isnan(found.scale):
        note = "the function has no finite values around"
    elif not close and not told:
        note = "differences tell nothing there, the function is too rough"
        # The analytic one then judges alone; without it nothing can.
        numeric = 0.0 if analytic is not None else math.nan
    return _Judged(
        best.value,
        math.nan if math.isnan(numeric + symbolic) else max(numeric, symbolic),
        proven and (close or numeric <= _UNCERTAIN * (best.uncertainty + lost.autograd)) and found.kink is None,
        found.kink,
        note,
    )


def _lost(along: Along, analytic: Callable[[], float | None]) -> _Lost:
    return _Lost(
        rounding(lambda: along(along.here)),
        rounding(lambda: torch.tensor(along.slope(along.here), dtype=torch.float64)).item(),
        rounding(lambda: torch.tensor(analytic() or 0.0, dtype=torch.float64)).item(),
    )


def _apart(one: float, other: float) -> float:
    """The difference, which is 0 for two equal infinities."""
    return 0.0 if one == other else abs(one - other)


def _nearest(found: Differences, autograd: float) -> Slope:
    """The slope to compare with.

    Fine and coarse steps may give different slopes, of which rounding made one: the nearer to autograd's is taken.
    """
    fine, coarse = found.fine.best, found.coarse.best
    apart = abs(fine.value - coarse.value)
    if math.isnan(apart) or apart <= _UNCERTAIN * (fine.uncertainty + coarse.uncertainty):
        return fine if fine.uncertainty <= coarse.uncertainty else coarse
    return min(fine, coarse, key=lambda each: abs(each.value - autograd))


def autograd(of: Differentiated, place: Point, names: tuple[str, ...]) -> Tensor:
    """The derivative of the sum of the values by each of `names` in turn; sums of elements in between."""
    leaves = recorded(place)
    derivative = of.call(**leaves)
    for name in names:
        # It has become constant, which autograd refuses to differentiate.
        if not derivative.requires_grad:
            return torch.zeros_like(leaves[name])
        with failures(f"the backward of {of.text}"):
            found = torch.autograd.grad(derivative.sum(), leaves[name], create_graph=True, allow_unused=True)[0]
        derivative = torch.zeros_like(leaves[name]) if found is None else found
    return derivative.detach()
