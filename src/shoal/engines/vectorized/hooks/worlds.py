"""What lies outside of the modules of a stack's runs, for the hooks of each as if no other run were in the process.

A hook may keep a best value in its class, or a history in a list of its file. Alone a run has these to itself; in a
stack the hooks of all runs are called one run after the other. Where some change what lies there, each run is given its
own from then on: what others have left is put away while its hooks are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from shoal.engines.hook_names import called
from shoal.engines.vectorized.member import Member
from shoal.step.held import UNSHOWN
from shoal.step.reach import Inside, Reach
from shoal.step.shared import Shared
from shoal.step.unfit import CannotStackError

_WATCHED = 2
"""Epochs in which it is seen what hooks change. What most change they change in the first; looking takes about a
millisecond a hook, which would be seen in all epochs of a small stack."""


class WhatLiesOutside:
    """What hooks can reach outside of runs, as it is when this is made."""

    def __init__(self, inside: Inside) -> None:
        self.reach = Reach(inside, keeps=True)
        self.shared = Shared()

    def changed(self, now: WhatLiesOutside) -> Iterator[str]:
        """What is another now, as a program would write it."""
        paths = [*self.reach.changed(now.reach), *self.reach.grown(now.reach)]
        # What a function keeps of its results comes to the same for whoever calls it.
        yield from (path.partition(UNSHOWN)[0] for path in paths if f"(){UNSHOWN}" not in path)
        yield from self.shared.changed()

    def put_back(self) -> None:
        """Let all of it be as it was."""
        self.reach.put_back()
        self.shared.put_back()


class Worlds:
    """That of each run of a stack: one for all as long as their hooks change nothing there."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._first: WhatLiesOutside | None = None
        """The one before any hook has changed something, once one has."""
        self._own: dict[int, WhatLiesOutside] = {}
        self.changed: str | None = None
        """What hooks have changed first."""
        self._entered: int | None = None
        """Whose is there now, where they are apart."""
        self._begun: int | None = None
        """The epoch in which hooks were called first."""

    @cached_property
    def _inside(self) -> Inside:
        every = [(member.module, *called(member.job.callbacks).values()) for member in self._members]
        return Inside.of([each for own in every for each in own])

    @property
    def apart(self) -> bool:
        """Whether hooks have changed what lies outside."""
        return self._first is not None

    def now(self) -> WhatLiesOutside:
        """The one that is there."""
        return WhatLiesOutside(self._inside)

    def each(self, runs: Sequence[int], epoch: int | None = None) -> Iterator[int]:
        """These runs, one after the other, each in its own until the next is asked for; at last the first's is there.

        Raises:
            CannotStackError: where hooks of another run than the first one have changed something first.
        """
        if not runs:
            return
        self._begun = epoch if self._begun is None else self._begun
        watched = epoch is None or self._begun is None or epoch < self._begun + _WATCHED
        before = self.now() if watched and not self.apart else None
        for run in runs:
            self.enter(run)
            yield run
            changed = next(before.changed(now := self.now()), None) if before and run == runs[0] else None
            if before and changed:
                self._refuse_what_stays(before, now)
                self.changed = changed
                self._first, self._entered = before, run
            if self.apart:
                self._own[run] = self.now()
        if before and not self.apart:
            self.refuse(next(before.changed(self.now()), None))
        self.enter(runs[0])

    def _refuse_what_stays(self, before: WhatLiesOutside, now: WhatLiesOutside) -> None:
        """Refuse what cannot be put away, as the position of an iterator; all is as `now` afterwards."""
        before.put_back()
        left = next(before.changed(self.now()), None)
        now.put_back()
        self.refuse(left)

    def enter(self, run: int) -> None:
        """Have that of this run be there."""
        if self._first is not None and run != self._entered:
            self._own.get(run, self._first).put_back()
            self._entered = run

    def other(self, runs: Sequence[int]) -> tuple[int, str] | None:
        """The first of these runs whose hooks have left something else than those of the first one, and what."""
        if self._first is None:
            return None
        one, *others = (self._own.get(run, self._first) for run in runs)
        found = ((run, next(one.changed(own), None)) for run, own in zip(runs[1:], others, strict=True))
        return next(((run, what) for run, what in found if what), None)

    def refuse(self, changed: str | None) -> None:
        """Refuse what hooks of some runs have changed where those of others may have seen it.

        Raises:
            CannotStackError: where something has.
        """
        if changed:
            error = CannotStackError(
                f"changes {changed}, where hooks of other runs look too", "an attribute of its module is each run's own"
            )
            error.within = "a hook"
            raise error

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Let them be after the block what they were before it."""
        before, kept = self.now(), (self._first, dict(self._own), self.changed, self._entered)
        yield
        before.put_back()
        self._first, self._own, self.changed, self._entered = kept

    @contextmanager
    def left(self) -> Iterator[None]:
        """After the block it is as before the first hook: what is trained next in this process begins there."""
        try:
            yield
        finally:
            if self._first is not None:
                self._first.put_back()
                self._entered = None
