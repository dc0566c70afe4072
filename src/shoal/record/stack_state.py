"""The state of a whole stack, in the one file that it goes on from: its runs have their own only when they end."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.engines.vectorized.running import Running
from shoal.errors import DamagedError
from shoal.record.checkpoints.checkpoint_file import EXTRA, SealedIO, load
from shoal.record.checkpoints.packed import missing
from shoal.record.run_of_stack import Track
from shoal.rundir.atomic import together

log = logging.getLogger("shoal")


class StackState:
    """The file of a stack while it trains."""

    def __init__(self, path: Path | None, runs: Sequence[str]) -> None:
        """`runs` are the names of its runs, in their order; without a `path` nothing is kept."""
        self.path = path
        self.runs = list(runs)
        self.written_at = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """What was kept of this very stack, if anything was."""
        if self.path is None or not self.path.exists():
            return None
        try:
            content = load(self.path)[EXTRA]
        except DamagedError as error:
            log.warning("%s: the stack starts again from its beginning", error.problem)
            return None
        if lost := next(missing(content), None):
            log.warning("no checkpoint can hold a %s: the stack starts again from its beginning", lost)
            return None
        # A stack that some of its runs have left since begins anew: each row of the file is that of a run.
        return content if content["runs"] == self.runs else None

    def write(self, running: Running, tracks: Sequence[Track | None]) -> None:
        """Keep it, once the files of the runs that have not ended are up to date."""
        if self.path is None:
            return
        left = {place: track for place, track in enumerate(tracks) if track and not track.info.finished}
        files = {}
        # The state counts on rows of these files: after a crash they must be there if it is.
        with together():
            for place, track in left.items():
                files[place] = track.record.flush() | {"at_best": track.at_best, "began": track.began}
                track.record.sync()
        content = {
            "runs": self.runs,
            "running": running.state_dict(),
            "files": files,
            "bests": {place: vars(track.best) if track.best else None for place, track in left.items()},
        }
        SealedIO().save_checkpoint({EXTRA: content}, self.path)
        self.written_at = time.monotonic()

    def remove(self) -> None:
        """Take it away: all runs have ended, and have states of their own."""
        if self.path:
            self.path.unlink(missing_ok=True)
