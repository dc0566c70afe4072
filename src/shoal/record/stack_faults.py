"""What keeps runs from training as one stack, and which of it might be the fault of one run."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.rundir.atomic import UnwritableError
from shoal.signals import Interrupted


class UnfitRunsError(Exception):
    """Some runs cannot train in a stack: `reasons` says why, by their place. Nothing has been trained or written."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


class UnmappedError(Exception):
    """A step of a stack did in training what cannot be mapped; each of its runs would do it."""


def may_be_one_runs_fault(error: BaseException) -> bool:
    """Whether runs that an exception ended together might train one by one: it is neither a signal nor the disk."""
    if isinstance(error, UnwritableError):
        return not error.everywhere
    return not isinstance(error, Interrupted | KeyboardInterrupt)
