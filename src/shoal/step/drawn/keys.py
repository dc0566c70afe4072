"""The keys of the random numbers that steps draw: one for each run, epoch and batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from shoal.seeding import Stream, derived, hashed

BLOCK = 256
"""Batches whose keys are made together."""


class StepKeys:
    """The keys of the runs in the rows of a stack."""

    def __init__(self, seeds: Sequence[int], device: torch.device | None = None) -> None:
        """The keys are worked out in main memory and sent to `device`."""
        self.seeds = list(seeds)
        self.device = device
        self.none = torch.zeros(len(self.seeds), 2, dtype=torch.int32, device=device)
        """In their place where nothing is drawn."""
        self._known: tuple[tuple[int, int, int], Int[Tensor, "batches runs 2"]] | None = None

    def at(self, epoch: int, batch: int, *, trains: bool) -> Int[Tensor, "runs 2"]:
        """Those of a batch of an epoch, for training or for validation: two int32 words for each row."""
        block, place = divmod(batch, BLOCK)
        position = (epoch, block, int(trains))
        if self._known is None or self._known[0] != position:
            self._known = position, self._made(*position)
        return self._known[1][place]

    def _made(self, *position: int) -> Int[Tensor, "batches runs 2"]:
        # Python derives one word for each run and block; those of the batches come of it all at once.
        own = torch.tensor([derived(seed, Stream.STEP, *position) for seed in self.seeds])
        words = hashed(own + hashed(torch.arange(BLOCK)[:, None]))
        return words.view(torch.int32).view(BLOCK, len(self.seeds), 2).to(self.device)
