"""A look at the steps of a stack as later epochs begin: hooks may have changed what they were traced with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.engines.vectorized.probing.probe import still_alike
from shoal.engines.vectorized.running import Running
from shoal.step.clock import Clock
from shoal.step.reach import Reach
from shoal.step.unfit import CannotStackError


class Later:
    """Sees what hooks have changed outside of their modules since the epoch before."""

    def __init__(self) -> None:
        self._before: Reach | None = None

    def look(self, running: Running, batch: Callable[[], Any], clock: Clock) -> None:
        """Compare a step of one run, on this batch, with its own where something has changed.

        Raises:
            CannotStackError: where it is another one by now.
        """
        run, row = next(iter(running.live.items()), (None, 0))
        if run is None or not running.hooks.any:
            return
        # Of one run: hooks of the others are the same functions.
        module = running.members[run].module
        before, self._before = self._before, Reach(module)
        # A list that grows, as of losses, is nothing that a step computes with; what is in it may be.
        changed = before and next((path for path in before.changed(self._before) if not self._before.grows(path)), None)
        if changed and still_alike(running.stack, running.steps.train, module, row, batch(), clock) is not None:
            raise CannotStackError(
                f"looks at {changed}, which a hook changes", "as an attribute of its module it may change"
            )
