"""Lets SIGTERM come before a step of a certain number, in either engine."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from shoal.record.interruption import Interruption
from shoal.record.stack_of_one import _Telling


class Stops:
    """Where the next training is stopped."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._step: int | None = None
        alone, asked = Interruption.on_train_batch_start, _Telling.is_asked_to_stop
        began: dict[int, int] = {}

        def noticed(interruption: Interruption, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            stacked = trainer.num_training_batches == 1
            if not stacked and trainer.global_step == self._step:
                interruption.received = signal.SIGTERM
            alone(interruption, trainer, module, batch, batch_idx)

        def counted(telling: _Telling) -> bool:
            n = began.setdefault(id(telling), telling.trainer.global_step)
            began[id(telling)] = n + 1
            if n == self._step:
                telling.interruption.received = signal.SIGTERM
            return asked(telling)

        patch.setattr(Interruption, "on_train_batch_start", noticed)
        patch.setattr(_Telling, "is_asked_to_stop", counted)

    def before(self, step: int | None) -> None:
        """Stop before that step; nowhere where None."""
        self._step = step
