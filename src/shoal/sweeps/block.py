"""The unit of a sweep's work: runs that train as one stack, or one run that trains alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoal.engines.stack.halving import Halving
from shoal.rundir import RunDir, RunInfo


# Told apart as objects: by value neither could be hashed, since configurations are dictionaries.
@dataclass(frozen=True, eq=False)
class Assignment:
    """One run to train: all plain values, so that any process can do it, and do it again."""

    number: int
    path: Path
    config: Mapping[str, Any] = field(repr=False)
    info: RunInfo = field(repr=False)
    """What is known of the run before it trains."""
    resume: bool = False
    """Whether to go on from what lies in its directory."""
    finished: bool = False
    """Whether it had come to its end already, and only keeps the others of its stack company."""

    @property
    def run(self) -> RunDir:
        """Its directory."""
        return RunDir(self.path)


@dataclass(frozen=True, eq=False)
class Block:
    """Runs that one process trains together. It writes their directories only, and can be started again."""

    assignments: tuple[Assignment, ...]
    stacked: bool = False
    """Whether they train as a stack, even where there is one of them."""
    state: Path | None = None
    """Where a stack keeps the state of all its runs together, to go on from."""
    halving: Halving | None = None
    """When the runs of a stack are compared, and how many of them go on."""
    exact: bool = True
    """Whether runs of a stack that get other bits in it than alone are trained each by itself."""
    group: str | None = None
    """Blocks of one group have runs of one kind: a process uses the compiled steps of one block for the next.

    No group of another launch or another sweep is called the same.
    """
    lease: Path | None = None
    """A file: what the block's process writes counts as long as it is there. None: it always counts."""

    @property
    def numbers(self) -> list[int]:
        """The numbers of its jobs."""
        return [assignment.number for assignment in self.assignments]


@dataclass(frozen=True)
class Advanced:
    """A block that is training has come so far."""

    fraction: float
    best: float | None = None
    """The best monitored value among its runs."""


@dataclass(frozen=True)
class RunEnded:
    """A run has come to an end of any kind."""

    number: int
    info: RunInfo


@dataclass(frozen=True)
class Unstacked:
    """Runs that cannot share a stack after all, each with the reason; none of them has been trained yet."""

    reasons: Mapping[int, str]


@dataclass(frozen=True)
class Broken:
    """Something went wrong in a stack that may be the fault of one of its runs; nobody knows which."""

    reason: str
    everyones: bool = False
    """Whether stacking itself is at fault, so that every run trains alone next."""


@dataclass(frozen=True)
class Noted:
    """A warning for the user; the training goes on."""

    warning: str


@dataclass(frozen=True)
class Inexact:
    """The runs of a stack would get other bits in it than alone."""

    reason: str


@dataclass(frozen=True)
class Unequipped:
    """The machine has no device of the kind that the runs are to train on; none of them was begun."""

    reason: str


Event = Advanced | RunEnded | Unstacked | Broken | Noted | Inexact | Unequipped
Report = Callable[[Event], None]
"""Where a block tells what happens, as it happens."""
