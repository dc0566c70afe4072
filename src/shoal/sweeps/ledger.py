"""What is known of every job of a sweep, and sweep.json, which follows it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from shoal.rundir import Status, SweepDir, SweepInfo, write_sweep
from shoal.rundir.info import now

SECONDS = 1.0
"""Least time between two writes of sweep.json; it is twenty times what a write takes, where that is more."""


class Ledger:
    """The jobs of a sweep by number."""

    def __init__(self, sweep: SweepDir, info: SweepInfo) -> None:
        self.sweep = sweep
        self.info = info
        self.jobs = {job.number: job for job in info.jobs}
        self.began = time.monotonic()
        # Of earlier launches: `write` adds what this one has taken.
        self._spent = info.seconds
        self._pause = SECONDS
        # As if long ago: the first update is due at once.
        self._written = -SECONDS

    def update(self, number: int, status: Status | None, reason: str | None = None) -> None:
        """Note how a job stands."""
        self.jobs[number] = replace(self.jobs[number], status=status, reason=reason)
        self.write(due=True)

    def place(self, number: int, block: str | None) -> None:
        """Note in which stack a job trains."""
        self.jobs[number] = replace(self.jobs[number], block=block)

    def describe(self, **fields: object) -> None:
        """Change what is said of the sweep as a whole."""
        self.info = replace(self.info, **fields)  # type: ignore[arg-type]

    def write(self, *, due: bool = False) -> None:
        """Bring sweep.json up to date; if `due` says so, only where the last write is long enough ago."""
        began = time.monotonic()
        if due and began - self._written < self._pause:
            return
        jobs = [self.jobs[number] for number in sorted(self.jobs)]
        self.info = replace(self.info, jobs=jobs, seconds=self._spent + began - self.began)
        write_sweep(self.sweep.info, self.info)
        self._written = time.monotonic()
        self._pause = max(SECONDS, 20 * (self._written - began))

    def close(self, status: Status) -> None:
        """Say how the sweep ended."""
        self.describe(status=status, ended=now())
        self.write()

    def counts(self) -> Counter[Status | None]:
        """How many jobs stand how."""
        return Counter(job.status for job in self.jobs.values())
