"""How much of a sweep's work is done, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.sweeps.block import Block
from shoal.sweeps.costs import ALONE

TRAINING = 0.9
"""The training's share of a run's work; the rest is writing the figure and closing the record."""
SECONDS, SHARE = 2.0, 0.01
"""An estimate means something after so long a time and so much of the work."""


class Pace:
    """Counts work in epochs of runs: where the blocks stand, not how many runs have ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._costs: dict[int, float] = {}
        self._blocks: dict[int, Block] = {}
        self._done: dict[int, float] = {}
        self._under_way: set[Block] = set()
        self._at_once = 1
        self._began: tuple[float, float] | None = None
        """When something was first heard of the work, and how much of it was done then."""

    def expect(self, blocks: Sequence[Block]) -> None:
        """There are these blocks to train; their runs may have been part of others, which they are no longer."""
        for block in blocks:
            for assignment in block.assignments:
                if not assignment.finished:
                    self._costs[assignment.number] = _epochs(assignment.config) * (1.0 if block.stacked else ALONE)
                    self._blocks[assignment.number] = block
                    self._done[assignment.number] = 0.0

    def advanced(self, block: Block, fraction: float) -> None:
        """A block has come so far in its training."""
        self._under_way.add(block)
        # How many blocks train at a time is the executor's affair; it shows in how many of them are heard.
        self._at_once = max(self._at_once, len(self._under_way))
        for assignment in block.assignments:
            # Not of a block that was taken apart since: its runs are now in others, where they begin again.
            if self._blocks.get(assignment.number) is block and self._done[assignment.number] < 1:
                self._done[assignment.number] = TRAINING * fraction
        self._hear()

    def run_ended(self, number: int) -> None:
        """A run has come to its end."""
        self._done[number] = 1.0
        self._hear()

    def finished(self, block: Block) -> None:
        """Nothing more is to be heard of a block."""
        self._under_way.discard(block)

    def seconds_left(self) -> float | None:
        """An estimate; None while it would mean nothing, and when nothing is left."""
        total, done = sum(self._costs.values()), self._work_done()
        if self._began is None or done >= total:
            return None
        seconds, gained = self._clock() - self._began[0], done - self._began[1]
        if seconds < SECONDS or gained < SHARE * total:
            return None
        left = dict.fromkeys(self._blocks.values(), 0.0)
        for number, block in self._blocks.items():
            left[block] += (1 - self._done[number]) * self._costs[number]
        # Towards the end there may be fewer blocks than processes: the longest of them takes its time alone.
        return max(total - done, max(left.values()) * self._at_once) * seconds / gained

    def _work_done(self) -> float:
        return sum(share * self._costs.get(number, 0.0) for number, share in self._done.items())

    def _hear(self) -> None:
        if self._began is None:
            # Not from the start: processes take seconds to begin, which says nothing of the pace of the training.
            self._began = self._clock(), self._work_done()


def _epochs(config: Mapping[str, Any]) -> float:
    """How long a training is, in epochs where it is set in epochs, else in steps."""
    trainer = config.get("trainer") or {}
    epochs, steps = trainer.get("max_epochs") or -1, trainer.get("max_steps") or -1
    return float(epochs if epochs > 0 else max(steps, 1))
