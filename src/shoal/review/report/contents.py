"""All that stands on the page of a report, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shoal.review.importance import Importance
from shoal.review.spread import Spread

HALVED = "halved"
"""Status of a row whose run is completed since halving has stopped it."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that differs between the runs."""

    name: str
    numeric: bool
    """All its values are numbers."""
    logarithmic: bool
    repeats: bool
    """A seed or a fold: runs that differ in nothing else are repetitions of each other."""
    order: list[Any]
    """Its values that are no numbers, as they were typed: in the order in which the jobs have them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run."""

    id: str
    path: str
    status: str
    rank: int | None
    """Place among the runs that were trained to the end, from 1."""
    values: list[Any]
    """What it has for each setting."""
    metric: float | None
    finals: list[float | None]
    epochs: int | None
    seconds: float | None
    command: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Repetitions:
    """Runs that differ in their seed or fold only, and the mean and spread of their metric and of their curves."""

    label: str
    rows: list[int]
    metric: Spread
    """Over those that were trained to the end."""
    first: int | None
    """The row of its best run."""
    p: float | None
    """How likely its difference from the first group is by chance."""
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The fit of one run."""

    title: str
    run: str
    data: str | None
    """The PNG, base64; None where the run has none."""
    fit: Sequence[str] = ()
    """Of a formula its parameters with their errors, and how well it fits, as lines of a terminal."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that stands on the page."""

    title: str
    task: str
    made: str | None
    tags: list[str]
    """Those of the sweep, or that all runs have."""
    note: str | None
    command: str
    n_pending: int
    figure: str | None
    """Where the figure of the sweep lies, below its folder; None where it has none."""
    metric: str | None
    """What the runs are compared by, in their best states."""
    rises: bool
    over: str
    """What the mean of a group is over: `seeds and folds`; empty where each is one run."""
    notes: list[str]
    """What is to be known of the comparison."""
    settings: list[Setting]
    importance: Importance | None
    """How much each setting mattered; None where that cannot be told."""
    metrics: list[str]
    """Further metrics of the leaderboard."""
    rows: list[Row]
    curves: dict[str, list[dict[str, list[float]] | None]]
    """For each metric the curve of each run."""
    groups: list[Repetitions]
    pictures: list[Picture]
    environment: list[tuple[str, str]]
