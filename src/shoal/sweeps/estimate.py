"""How long a sweep will take, from a few epochs of each kind of block, trained for it and forgotten."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch

from shoal.engines import lightning
from shoal.rundir.log import quiet_logging
from shoal.sweeps.block import Block
from shoal.sweeps.costs import END_SECONDS, START_SECONDS
from shoal.sweeps.sweep_progress import clock
from shoal.sweeps.tried_blocks import TriedRuns, try_block

TRIES = 3
"""Blocks of a kind that are tried until one of them does not break."""


@dataclass(frozen=True)
class Estimate:
    """What a dry run finds out by trying."""

    seconds: float
    """Of the whole sweep; 0 where nothing could be measured."""
    unknown: int
    """Runs whose time is not known."""
    apart: dict[str, list[int]]
    """Jobs that will leave their stacks, by the reason."""
    problems: list[str]
    early: bool = False
    """Whether it takes less where runs stop early."""

    def in_words(self, processes: int) -> str:
        """The time, for the terminal, and what it leaves out."""
        if not self.seconds:
            return f"how long it takes could not be measured: {'; '.join(self.problems) or 'there is nothing to train'}"
        less = ", less where runs stop early" if self.early else ""
        left_out = f", without {self.unknown} runs: {'; '.join(self.problems)}" if self.unknown else ""
        by = "process" if processes == 1 else "processes"
        return f"about {clock(self.seconds)} with {processes} {by}{less}{left_out}"


def estimated(blocks: Sequence[Block], processes: int, begins: float = START_SECONDS) -> Estimate:
    """The wall time of these blocks, tried one of each kind; what goes wrong in it is part of the answer.

    The sweep `begins` to train after so many seconds.
    """
    known: dict[str, tuple[Block, list[TriedRuns]]] = {}
    broken = Counter[str]()
    total, longest, unknown, apart, problems = 0.0, 0.0, 0, dict[str, list[int]](), dict[str, None]()
    with _quietly():
        for block in blocks:
            kind = _kind(block)
            # What breaks in one may go well in the next.
            if kind not in known or 0 < broken[kind] < TRIES:
                known[kind] = block, try_block(block)
                broken[kind] += all(isinstance(part.time, str) for part in known[kind][1]) or -broken[kind]
            tried, parts = known[kind]
            for part in parts:
                if part.apart:
                    apart.setdefault(part.apart, []).extend(_numbers(part, block, tried, whole=len(parts) == 1))
                n = len(block.assignments) * len(part.places) / len(tried.assignments)
                if isinstance(part.time, str):
                    unknown, problems = unknown + round(n), problems | {part.time: None}
                    continue
                total, longest = total + part.time.of(n, block), max(longest, part.time.of(part.time.runs, block))
    # A block is trained by one process: with ever so many the longest takes its time.
    wall = begins + max(total / processes, longest) + END_SECONDS if total else 0.0
    early = any(part.early for _, parts in known.values() for part in parts)
    return Estimate(wall, unknown, apart, list(problems), early)


def _numbers(part: TriedRuns, block: Block, tried: Block, *, whole: bool) -> list[int]:
    """The jobs of a part; of a block like the one that was tried nothing is known, unless it goes as a whole."""
    if whole:
        return block.numbers
    return [block.numbers[place] for place in part.places] if block is tried else []


def _kind(block: Block) -> str:
    """What must be the same for blocks to take as long as each other, for each of their runs."""
    if block.group is not None:
        # A group is cut into blocks that differ by a run; what is left of an earlier launch may be far smaller.
        return f"{block.group} {len(block.assignments).bit_length()}"
    # Of runs that train alone: whatever their seed and their rate, a step takes as long.
    return str(_without(block.assignments[0].config, {"seed", "lr"}))


def _without(config: Any, names: Set[str]) -> Any:
    """A configuration without the settings of these names: a task has a seed, too, and a module of one's own a rate."""
    if not isinstance(config, Mapping):
        return config
    return {name: _without(value, names) for name, value in config.items() if name not in names}


@contextmanager
def _quietly() -> Iterator[None]:
    """One thread, as a worker has it, and nothing of what is tried on the terminal."""
    threads, unheard = torch.get_num_threads(), io.StringIO()
    torch.set_num_threads(1)
    try:
        with quiet_logging(), lightning.expected_warnings(), redirect_stdout(unheard), redirect_stderr(unheard):
            yield
    finally:
        torch.set_num_threads(threads)
