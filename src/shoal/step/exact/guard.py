"""Gives every run of a stack the bits that it has alone, and says how."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shoal.step.exact import remembered
from shoal.step.exact.calls import Form
from shoal.step.exact.checking import differing, mended
from shoal.step.exact.locating import CannotLocateError
from shoal.step.exact.rows import Function
from shoal.step.exact.subject import Comparable, OfFunction, Subject

log = logging.getLogger(__name__)

MOST_SHAPES = 3
"""Of an operation that a note lists."""


class InexactError(Exception):
    """A stack would give its runs other bits than they have alone, and nothing helps; the message says why."""


@dataclass
class Guard:
    """Checks each program of the runs of one kind before it trains them."""

    on: bool = False
    """Off for a run alone: it is what the others are compared with."""
    exact: bool = True
    """Whether runs that would have other bits are refused."""
    _notes: dict[int, dict[str, list[str]]] = field(default_factory=dict)
    """By the size of the stack: what there is to say, and of which shapes."""
    _functions: dict[Any, OfFunction] = field(default_factory=dict)

    def function(self, what: str, function: Function, *inputs: Tensor) -> Function:
        """A function of shoal's that is not traced, as it is to be called for inputs like these.

        Raises:
            InexactError: as `settle`.
        """
        if not self.on:
            return function
        key = (what, *map(Form.of, inputs))
        # By form: for a stack of another size, or numbers of another type, torch may take another kernel.
        if key not in self._functions:
            found = OfFunction(what, function)
            self.settle(found, inputs, f"{function.__module__}.{function.__qualname__}")
            self._functions[key] = found
        return self._functions[key]

    def settle(
        self,
        subject: Subject,
        inputs: Sequence[Tensor],
        text: str | None = None,
        quickly: Callable[[], Comparable | None] = lambda: None,
    ) -> None:
        """Make sure that a program gives each run the bits it has alone; `text` is all of it in words, or None.

        `quickly` may give the same program in a form that costs less to compare, and in which nothing can be mended.

        Raises:
            InexactError: where it cannot, and runs that would have other bits are refused.
        """
        # What cannot be put into words could change without a new digest, so nothing is remembered of it.
        if text is None:
            self._compare(subject, inputs, quickly)
            return
        name = remembered.digest(text, inputs)
        with remembered.looked_up(name) as known:
            # Only what needed no mending is kept: which operations to compute in groups is found by comparing alone.
            if not known and not self._compare(subject, inputs, quickly):
                remembered.keep(name)

    def _compare(self, subject: Subject, inputs: Sequence[Tensor], quickly: Callable[[], Comparable | None]) -> bool:
        """Compare the program with that of a run alone, mend what differs, and say whether anything did."""
        n, quick = len(inputs[0]), quickly()
        # The quick form can only acquit: to say which operation differs takes the traces themselves.
        if quick is not None and differing(quick, inputs) is None:
            return False
        try:
            found = mended(subject, inputs)
        except CannotLocateError as why:
            self._give_up(subject, n, str(why))
            return True
        for each in found.values():
            problem = f"in a stack of {n} {each.call.name} gives a run other bits than alone in the {subject.what}"
            self._note(n, f"{problem}: it is computed for {each.way}", each.call.shapes)
        return bool(found)

    def notes(self, n: int) -> list[str]:
        """What there is to say of stacks of so many rows."""
        return [_told(sentence, shapes) for sentence, shapes in self._notes.get(n, {}).items()]

    def _give_up(self, subject: Subject, n: int, why: str) -> None:
        problem = f"in a stack of {n} the {subject.what} gives a run other bits than alone: {why}"
        if self.exact:
            raise InexactError(problem)
        self._note(n, f"{problem}; the bits of its runs hold for this stack only", level=logging.WARNING)

    def _note(self, n: int, sentence: str, shapes: str = "", *, level: int = logging.INFO) -> None:
        known = self._notes.setdefault(n, {}).setdefault(sentence, [])
        # Several programs may meet the same operation in the same shapes: the log has one line of it.
        if shapes not in known:
            known.append(shapes)
            log.log(level, "%s%s", sentence, f" ({shapes})" if shapes else "")


def _told(sentence: str, shapes: Sequence[str]) -> str:
    shown = [each for each in shapes[:MOST_SHAPES] if each]
    more = [f"{len(shapes) - MOST_SHAPES} more"] if len(shapes) > MOST_SHAPES else []
    return f"{sentence} ({'; '.join([*shown, *more])})" if shown else sentence
