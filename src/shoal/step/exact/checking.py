"""A program of a stack against the same of a run alone, to the bit."""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor

from shoal.step.exact.calls import Call, Place, Recording
from shoal.step.exact.grouped import Grouped
from shoal.step.exact.locating import CannotLocateError, Locating
from shoal.step.exact.rows import repeated, same_bits, varied
from shoal.step.exact.subject import Comparable, Subject

ROWS = 8
"""Runs of a stack that are compared."""
SAMPLES = 16
"""Runs that are compared, over all sets of numbers: of a single number, two ways to compute it may well agree by
chance."""
SECONDS = 1.0
"""After which only the first and the last run are compared, on two sets of numbers."""
ATTEMPTS = 3
"""How often operations are looked for: what differs by little may show with other numbers only."""


def mended(subject: Subject, inputs: Sequence[Tensor]) -> dict[Place, Grouped]:
    """Compare with runs alone; operations that differ are computed in groups, so that each run gets its own bits.

    Raises:
        CannotLocateError: where there are runs that have other bits all the same; nothing is mended then.
    """
    found: dict[Place, Grouped] = {}
    for _ in range(ATTEMPTS):
        shown = differing(subject, inputs)
        if shown is None:
            return found
        before = len(found)
        found |= _located(subject, shown)
        # No operation differs by itself, or only those that are mended already: to look once more would show the same.
        if len(found) == before:
            break
        subject.mend(found)
    # Mended by half is worse than not: what is told then would not be what is computed.
    subject.mend({})
    names = " and ".join(dict.fromkeys(each.call.name for each in found.values()))
    raise CannotLocateError(f"beside {names} something does" if names else "no single operation does")


def differing(subject: Comparable, inputs: Sequence[Tensor]) -> list[Tensor] | None:
    """Inputs, those given or others like them, that give a run other bits than alone; None where none do."""
    rows = compared(len(inputs[0]))
    began = time.monotonic()
    # Of a small stack more sets of numbers, so that as many rows are compared in all; the first set is the one given.
    for number in range(max(2, -(-SAMPLES // len(rows)))):
        given = varied(inputs, number) if number else list(inputs)
        try:
            whole = subject.run(given)
        except RuntimeError:
            if not number:
                raise
            continue  # numbers that an operation refuses, as a matrix that has no inverse, say nothing
        for place, row in enumerate(rows):
            # The last and the first row are always compared: whatever goes by place in memory shows there.
            if place > 1 and time.monotonic() - began > SECONDS:
                break
            alone = subject.alone(row, [repeated(value, row) for value in given])
            if not all(same_bits(mine[row], theirs[0]) for mine, theirs in zip(whole, alone, strict=True)):
                return given
        if number and time.monotonic() - began > SECONDS:
            break
    return None


def compared(n: int) -> list[int]:
    """The rows to compare of a stack of `n`: the last, the first, and some between."""
    between = range(1, n - 1, max(1, -(-(n - 2) // (ROWS - 2))))
    return [n - 1, 0, *between] if n > 1 else [0]


def _located(subject: Subject, inputs: Sequence[Tensor]) -> dict[Place, Grouped]:
    n = len(inputs[0])
    # Where the runs lie is read off two sizes that differ: a stack of two needs one of three beside it.
    pairs = _calls(subject, inputs, 2)
    locating = Locating(pairs, pairs if n != 2 else _calls(subject, inputs, 3), compared(n), n)
    subject.observe(inputs, locating)
    return locating.found


def _calls(subject: Subject, inputs: Sequence[Tensor], n: int) -> list[Call]:
    """Those of a stack of `n`."""
    # Copies of one run will do, since no more than the forms and the order of the calls is looked at.
    recording = Recording(n)
    subject.observe_small([repeated(value, 0, n) for value in inputs], recording)
    return recording.calls
