"""Who is told of a stack while it trains: the stack itself writes no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol, runtime_checkable

from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running


@runtime_checkable
class Listener(Protocol):
    """What the layer above wants to know of a stack while it trains."""

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        """The runs that trained in this epoch, in the order of the members."""

    def is_asked_to_stop(self) -> bool:
        """Whether to stop before the next optimizer step."""

    def stopped(self, running: Running) -> NoReturn:
        """The stack has stopped within an epoch, and can be saved as it stands; what this raises ends the training."""
