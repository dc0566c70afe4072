"""A profiler for those who ask for none."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from pytorch_lightning.profilers import PassThroughProfiler


class Unprofiled(PassThroughProfiler):
    """Measures nothing, at a fifth of the cost of Lightning's own profiler that measures nothing.

    Lightning enters a profiler's context some seventy times a step.
    """

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self._nothing
