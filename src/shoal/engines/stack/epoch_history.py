"""What the steps of an epoch gave, for every run of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.engines.stack.moving import fetched
from shoal.step.filled import LATEST
from shoal.step.stepped import Stepped


@dataclass
class EpochHistory:
    """What the steps of an epoch gave, in their order; one value for every row of the stack."""

    losses: list[Float[Tensor, " runs"]] = field(default_factory=list)
    logged: list[dict[str, Tensor]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Samples of each batch."""
    norms: list[Float[Tensor, " runs"]] = field(default_factory=list)
    """Norm of the gradient before clipping, for each optimizer step; of steps taken at once for the last one alone."""
    clipped_norms: list[Float[Tensor, " runs"]] = field(default_factory=list)
    """Norm of the gradient after clipping, where there is any."""
    repeated: list[tuple[int, list[int], dict[str, Tensor]]] = field(default_factory=list)
    """What steps logged that rows asked for again: the number of the batch, these rows, and values for every row."""
    outputs: list[Float[Tensor, "runs batch ..."]] = field(default_factory=list)
    """What the steps returned, where it is kept."""

    def note(self, step: Stepped, batch: Any) -> None:
        """Add what a step on a batch gave."""
        self.losses.append(step.losses)
        self.log(step.logged)
        self.sizes.append(_n_samples(batch))

    def again(self, rows: Sequence[int], step: Stepped, norms: Tensor, clipped: Tensor) -> None:
        """Add what the last batch gave once more to rows whose optimizers have asked for it, as alone they would."""
        self.repeated.append((len(self.losses) - 1, list(rows), step.logged))
        for noted, now in ((self.norms, norms), (self.clipped_norms, clipped)):
            if noted:
                places = torch.tensor(rows).to(now.device)
                # Not in place, which whoever looked at it before would see.
                noted[-1] = noted[-1].index_copy(0, places, now.index_select(0, places))

    def log(self, logged: dict[str, Tensor]) -> None:
        """Add what a step logged; of what the last step's alone counts, that of the step before is let go."""
        for name in logged if self.logged else ():
            if name.startswith(LATEST):
                self.logged[-1].pop(name, None)
        self.logged.append(logged)

    def tensors(self) -> list[Tensor]:
        """The losses and all that was logged."""
        return [*self.losses, *(value for logged in self.logged for value in logged.values())]

    def fetch(self, device: torch.device) -> EpochHistory:
        """Have them in main memory; they are on this device."""
        vars(self).update(fetched(vars(self), device))
        return self


def _n_samples(batch: Any) -> int:
    """The length of the first tensor of each run's batch, as Lightning counts samples."""
    lengths = (leaf.shape[1] for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 1)
    return int(next(lengths, 1))
