"""Whether runs take their steps faster together than each by itself, measured before they train."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.engines.stack.gathered import side_by_side
from shoal.engines.stack.steady import steady
from shoal.engines.vectorized.probing.own_step import by_itself
from shoal.engines.vectorized.running import Running
from shoal.seeding import generators_restored
from shoal.step.clock import Clock
from shoal.step.shortest import shortest

AROUND = 3e-4
"""Seconds that a step alone takes beside its forward and backward: what Lightning and the optimizer do around it."""
MARGIN = 1.15
"""How much slower a stack must be: a program that runs for long is compiled, and then saves a fifth."""
TRIES = 3
FEWEST = 4
"""Runs of a stack for which it is worth measuring."""


def slower(running: Running) -> str | None:
    """Why these runs are faster by themselves, with the figures; None where they are not."""
    found, n = running.filled, len(running.live)
    if n < FEWEST:
        return None
    sources = side_by_side([running.members[run].job.sources()[0] for run in found], running.stack.device)
    batch = next(iter(sources.epoch(0, end=1, dtype=running.stack.params.dtype)), None)
    if batch is None:
        return None
    stack = running.stack
    with steady(), generators_restored():
        together = (
            shortest(lambda: running.steps.train(stack.views(), stack.buffers, batch, _clock(running)), TRIES) / n
        )
        alone = shortest(lambda: _alone(running, batch), TRIES)
    # Seconds of one run, both: `together` is by then divided by the number of runs.
    if together <= MARGIN * (alone + AROUND):
        return None
    return (
        f"a step takes {1e3 * together:.1f} ms a run in a stack of {n}, and {1e3 * (alone + AROUND):.1f} ms alone; "
        "another sweep.block may do better"
    )


def _clock(running: Running) -> Clock:
    return Clock(running.epoch, 0, running.step, keys=running.keys)


def _alone(running: Running, batch: Any) -> None:
    """The step of the first run by itself."""
    own = pytree.tree_map(lambda leaf: leaf[0] if isinstance(leaf, Tensor) else leaf, batch)
    step = running.steps.captured["train"].like(running.members[running.filled[0]].module)
    by_itself(step, own, Clock(running.epoch, 0, running.step), running.stack.layout.names)
