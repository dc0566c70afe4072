"""What the figure of a sweep is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What one run of a sweep has come to."""

    run: str
    """Name of its directory."""
    settings: Mapping[str, Any]
    """The values of the swept settings, seeds and folds left out."""
    value: float | None
    """The best value of the metric; None if the run did not complete, or has no finite value."""
    halved: bool = False
    """Whether halving has stopped it: it has no part in what is said of those that were trained to the end."""
    curve: Sequence[tuple[float, float]] = ()
    """Step and metric, one pair a row of its history, where its curve is to be drawn."""


@dataclass(frozen=True, kw_only=True)
class Leader:
    """The best setting, which has a star."""

    run: str
    """Its best run, whose curve stands for it."""
    settings: Mapping[str, Any]
    value: float
    """What it has come to."""
    over: str | None = None
    """Over what that is the mean, where it is one: `best mean over seeds`."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What the figure calls things."""

    title: str
    metric: str
    rises: bool = False
    """Whether a large value is good."""
    repeats: str = "runs"
    """What runs of one configuration differ in: `seeds`, `folds`, or both."""
