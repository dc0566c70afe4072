"""What every check offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shoal.rundir import RunDir, RunInfo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AGREES = "agrees"
"""The measured value that is 1 where a check found nothing wrong; expected of every check that says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a check found."""

    rows: list[dict[str, float]]
    """Values by name, in the order in which they were found: rows of metrics.csv."""
    text: str
    """What a terminal shows."""
    agrees: bool
    figures: Mapping[str, Figure] = field(default_factory=dict)
    info: RunInfo | None = None
    """What run.json says of a training that was part of it, and recorded in the same directory."""


class CheckOfItself(ABC):
    """Measures what its own settings describe."""

    @abstractmethod
    def measure(self) -> Measured:
        """What there is to find.

        Raises:
            ShoalError: where it cannot be measured.
        """


class CheckOfJob(ABC):
    """Measures something of the job that it was configured with."""

    @abstractmethod
    def measure(self, occasion: Occasion) -> Measured:
        """What there is to find.

        Raises:
            ShoalError: where it cannot be measured.
        """


@dataclass(frozen=True)
class Occasion:
    """What a check of a job is made for."""

    config: Mapping[str, Any]
    """The resolved configuration of the job."""
    run: RunDir
    """A directory that may be trained in."""
    info: RunInfo


Check = CheckOfItself | CheckOfJob
