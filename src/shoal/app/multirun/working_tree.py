"""The commit that a sweep was trained with, and the changes beside it: asked of git while the jobs are checked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from shoal.record import environment
from shoal.rundir import SweepDir, write_text


class WorkingTree:
    """The working tree as it is when the sweep begins; git takes its time beside what this thread does."""

    def __init__(self, sweep: SweepDir) -> None:
        pool = ThreadPoolExecutor(max_workers=1)
        self._found = pool.submit(environment.working_tree)
        self._sweep = sweep
        # No more work comes; the thread ends when git does.
        pool.shutdown(wait=False)

    @property
    def git(self) -> dict[str, Any] | None:
        """Commit, and whether there are changes."""
        # Waits for git, which has had the time of all the checks.
        return self._found.result()[0]

    @cached_property
    def patch(self) -> Path | None:
        """The file with the changes: written once, to be linked into every run directory."""
        _, text = self._found.result()
        path = self._sweep.path / "patch.diff"
        if text:
            write_text(path, text)
        return path if text else None
