"""What a chart shows: panels side by side, and the marks in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Numbers = Any
"""Numbers of one axis: a sequence, or an array of NumPy's; not a number where nothing is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Something that is drawn in a panel."""

    color: str
    label: str | None = None
    """In the legend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line(Mark):
    """A line through points."""

    x: Numbers
    y: Numbers
    style: str = "-"
    width: float | None = None
    dot: str | None = None
    """The mark of each point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dots(Mark):
    """Points."""

    x: Numbers
    y: Numbers
    area: float
    """In square points."""
    opacity: float = 0.6
    hollow: bool = False
    """Triangles that are not filled, which are told apart without colors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorBars(Mark):
    """Points with the standard errors of their heights, where there are any."""

    x: Numbers
    y: Numbers
    errors: Numbers | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Band(Mark):
    """What lies between two curves."""

    x: Numbers
    low: Numbers
    high: Numbers
    opacity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Level(Mark):
    """A horizontal line."""

    y: float
    style: str = "-"
    width: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars(Mark):
    """Heights with their names; the first has the color."""

    names: Sequence[str]
    heights: Sequence[float]
    others: str
    """The color of the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Samples of each class (row) taken for each class (column)."""

    counts: Sequence[Sequence[int]]
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Axes, and what is drawn in them, the first mark undermost."""

    marks: Sequence[Mark | Confusion] = ()
    title: str = ""
    x: str = ""
    y: str = ""
    """What the axes show."""
    legend: bool = False
    legend_title: str | None = None
    logarithmic: bool = False
    """Whether the heights are on a logarithmic scale."""
    heights: tuple[float, float] | None = None
    """The least and the greatest that is shown; None for all there are."""
    few_ticks: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Panels from left to right under one title."""

    title: str
    panels: Sequence[Panel]
    width: float
    """Of a panel, in inches."""
