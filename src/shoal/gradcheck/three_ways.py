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
from shoal.gradcheck.slopes import Slope

ANALYTIC = 1e-3
"""The analytic derivative has to be nearer than finite differences have: by this factor."""
_UNCERTAIN = 10
"""How many times their own uncertainty derivatives may be off."""
_TOLD = 1e-3
"""An uncertainty above this share of the derivative tells nothing."""
_NOTHING = 1e-9
"""What is this share of the slopes around it is as good as zero."""


_NEAR = 1e-7
"""How far near numbers are apart, as a share of them."""
_NEIGHBORS = 4


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
    """Not a number where they can tell nothing: the function is not finite around, or too rough."""
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
        moved.view(-1)[self.element] = value
        return {**self.place, self.names[-1]: moved}

    @property
    def here(self) -> float:
        return self.by_element(self.place[self.names[-1]])


def compared(
    *, label: str, at: str, along: Along, exact: Callable[[float], float | None], tolerance: float, given: bool
) -> Derivative:
    """Autograd's derivative beside the analytic one, `exact`, and that of the values around.

    `given` says that the user wrote the analytic one: then its having no value is a mistake.
    """
    autograd, analytic, notes = along.slope(along.here), exact(along.here), []
    if analytic is not None and math.isnan(analytic) and math.isfinite(autograd) and not given:
        # x**y*y/x is 0/0 at 0, where x**2 has a derivative: a matter of how SymPy writes it.
        notes.append("its formula has no value there")
        analytic = None
    found = differences(along, along.here)
    size = max((abs(each) for each in (autograd, analytic or 0.0) if math.isfinite(each)), default=0.0)
    best = _nearest(found, autograd)
    numeric, symbolic = _apart(autograd, best.value), 0.0 if analytic is None else _apart(autograd, analytic)
    close = numeric <= tolerance * max(size, abs(best.value))
    told = best.uncertainty <= max(_TOLD * size, _NOTHING * found.scale)
    proven = symbolic <= ANALYTIC * (tolerance * size + _NOTHING * found.scale) + _UNCERTAIN * found.noise
    if not proven and symbolic <= tolerance * size:
        proven = symbolic <= _UNCERTAIN * _rounding(along, exact)
    if math.isnan(found.scale):
        notes.append("the function has no finite values around")
    elif not close and not told:
        notes.append("differences tell nothing there, the function is too rough")
        numeric = 0.0 if analytic is not None else math.nan
    elif found.side:
        notes.append(f"from the {found.side} alone")
    return Derivative(
        label,
        at,
        autograd,
        analytic,
        best.value,
        disagreement=math.nan if math.isnan(numeric + symbolic) else max(numeric, symbolic),
        agrees=proven and (close or numeric <= _UNCERTAIN * best.uncertainty) and found.kink is None,
        kink=found.kink,
        note=", ".join(notes),
    )


def _apart(one: float, other: float) -> float:
    """The difference; none of two slopes that are as infinite."""
    return 0.0 if one == other else abs(one - other)


def _rounding(along: Along, exact: Callable[[float], float | None]) -> float:
    """By how much the derivatives by autograd and by formula jump between near numbers, as where terms cancel."""
    near = [along.here * (1 + k * _NEAR) for k in range(-_NEIGHBORS, _NEIGHBORS + 1)]
    found = [[each for x in near if (each := slope(x)) is not None] for slope in (along.slope, exact)]
    bends = [abs(a - 2 * b + c) for each in found for a, b, c in zip(each, each[1:], each[2:], strict=False)]
    return max(filter(math.isfinite, bends), default=0.0)


def _nearest(found: Differences, autograd: float) -> Slope:
    """The slope to compare with.

    Where it is another over fine steps than over coarse ones, one of them is of rounding: then it is the one that
    autograd is nearer to.
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
        if not derivative.requires_grad:
            return torch.zeros_like(leaves[name])
        with failures(f"the backward of {of.text}"):
            found = torch.autograd.grad(derivative.sum(), leaves[name], create_graph=True, allow_unused=True)[0]
        derivative = torch.zeros_like(leaves[name]) if found is None else found
    return derivative.detach()
