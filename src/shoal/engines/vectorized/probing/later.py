"""A look at the steps of a stack as later epochs begin: hooks may have changed what they were traced with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shoal.engines.sampled import Sampled
from shoal.engines.vectorized.probing.failure_words import place_of
from shoal.engines.vectorized.probing.probe import still_alike
from shoal.engines.vectorized.running import Running
from shoal.step.clock import Clock
from shoal.step.logged import Stage
from shoal.step.mapped import Mapped
from shoal.step.reach import Reach
from shoal.step.scripted import Scripted
from shoal.step.shared import Shared
from shoal.step.unfit import CannotStackError


class Later:
    """Sees what hooks have changed outside of their modules since the last steps of this stage."""

    def __init__(self, running: Running, stage: Stage) -> None:
        self.stage = stage
        self._before = _outside(running)

    def look(self, running: Running, batches: Callable[[], Iterable[Any]], clock: Clock) -> None:
        """Compare a step of one run, on a batch of each data loader, with its own where something has changed.

        Raises:
            CannotStackError: where it is another one by now, or hooks of other runs may have seen what has changed.
        """
        before, self._before = self._before, _outside(running)
        changed = before and self._before and next(_changed(before, self._before), None)
        runs, worlds = list(running.live), running.hooks.worlds
        if outside := changed or worlds.changed:
            self._see_samples(running, runs[0], outside)
        other = worlds.other(runs)
        # In what the first run finds there the step is traced.
        if what := changed or (other and other[1]):
            self._compare(running, runs[0], batches(), clock, what)
        if other:
            worlds.enter(other[0])
            self._compare(running, other[0], batches(), clock, other[1])
            worlds.enter(runs[0])
        if changed and not worlds.apart:
            worlds.refuse(changed)

    def _see_samples(self, running: Running, run: int, changed: str) -> None:
        """Refuse samples that were gathered once and are others by now."""
        train, val = running.members[run].job.sources()
        every = [train] if self.stage == "train" else val
        if not all(each.stand() for each in every if isinstance(each, Sampled)):
            error = CannotStackError(
                f"changes {changed}, by which its samples are others", "samples may follow from trainer.current_epoch"
            )
            error.within = "a hook"
            raise error

    def _compare(self, running: Running, run: int, batches: Iterable[Any], clock: Clock, changed: str) -> None:
        row, stack = running.live[run], running.stack
        mapped: Mapped | Scripted = running.steps.train
        module = running.members[run].module
        if self.stage == "val":
            stack, mapped = stack.judged, running.steps.val
        module.load_state_dict(stack.weights(row), strict=False)
        for batch in batches:
            parts = mapped.parts(stack.views(), stack.buffers, batch, clock)
            if all(still_alike(stack, each, module, row, given, clock) is None for each, given in parts):
                continue
            error = CannotStackError(
                f"looks at {changed}, which a hook changes", "as an attribute of its module it may change"
            )
            step = running.steps.captured[self.stage]
            error.within = f"{step.name} ({place_of(module, step)})"
            raise error


def _outside(running: Running) -> tuple[Reach, Shared] | None:
    """What lies outside of the module of one run: hooks of the others are the same functions."""
    run = next(iter(running.live), None)
    if run is None or not running.hooks.any:
        return None
    return Reach(running.members[run].module), Shared()


def _changed(before: tuple[Reach, Shared], now: tuple[Reach, Shared]) -> Iterator[str]:
    # A list that grows, as of losses, is nothing that a step computes with; what is in it may be.
    yield from (path for path in before[0].changed(now[0]) if not now[0].grows(path))
    yield from before[1].changed()
