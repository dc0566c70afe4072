"""The losses that the steps of a module give back, logged where the module logs none itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.data import _extract_batch_size
from torch import Tensor

from shoal.judging import Part, losses, part_of
from shoal.names import TEST_LOSS, TRAIN_LOSS, VAL_LOSS
from shoal.tasks.announce import announce

_NAMES: Mapping[Part, str] = {"train": TRAIN_LOSS, "val": VAL_LOSS, "test": TEST_LOSS}
_ENDS: Mapping[Part, str] = {
    "train": "on_train_epoch_end",
    "val": "on_validation_epoch_end",
    "test": "on_test_epoch_end",
}


def returned(outputs: Any) -> Tensor | None:
    """The loss that a step gives back: the number itself, or what is called `loss` among several."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return found.detach() if isinstance(found, Tensor) and found.numel() == 1 else None


def added(part: Part, outputs: Any, names: set[str]) -> set[str]:
    """The name under which the returned loss is logged, where the step itself logs no loss."""
    return {_NAMES[part]} if returned(outputs) is not None and not _has_loss(part, names) else set()


class Returned(pl.Callback):
    """Adds up what the steps give back, and logs the mean over an epoch where the module has logged no loss by then."""

    def __init__(self) -> None:
        self._sums: dict[Part, Tensor] = {}
        """The sum of the losses, each times its number of samples, and of these numbers."""
        self._needed: dict[Part, bool] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Come after the module's own hooks at the end of an epoch, in which it may log as well."""
        for part, hook in _ENDS.items():
            setattr(pl_module, hook, self._followed(getattr(pl_module, hook), trainer, part))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take note of the loss of a batch; Lightning has divided it by the batches whose gradients are added up."""
        self._add("train", outputs, batch, trainer.accumulate_grad_batches)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        *where: int,
    ) -> None:
        """The same."""
        self._add("val", outputs, batch)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *where: int
    ) -> None:
        """The same."""
        self._add("test", outputs, batch)

    def _add(self, part: Part, outputs: Any, batch: Any, times: int = 1) -> None:
        loss = returned(outputs) if self._needed.get(part, True) else None
        if loss is None:
            return
        size = _size(batch)
        # (2,): both sums in one tensor, which several processes then add up in one exchange.
        nothing = torch.zeros(2, dtype=torch.float64, device=loss.device)
        total, n = self._sums.get(part, nothing)
        self._sums[part] = torch.stack([total + loss.reshape(()).double() * times * size, n + size])

    def _followed(self, hook: Callable[..., Any], trainer: pl.Trainer, part: Part) -> Callable[..., Any]:
        @functools.wraps(hook)
        def followed(*args: Any, **kwargs: Any) -> Any:
            given = hook(*args, **kwargs)
            self._log(part, trainer)
            return given

        return followed

    def _log(self, part: Part, trainer: pl.Trainer) -> None:
        # Before the question: what a sanity check has added up is no part of the first validation.
        found = self._sums.pop(part, None)
        if trainer.sanity_checking or found is None:
            return
        if part not in self._needed:
            self._needed[part] = not _has_loss(part, trainer.callback_metrics)
        if self._needed[part]:
            # Sums, not means: processes may have different numbers of samples.
            total, n = trainer.strategy.reduce(found, reduce_op="sum")
            announce(trainer, {_NAMES[part]: float(total / n)})


def _has_loss(of: Part, names: Any) -> bool:
    """Whether a loss of this part is logged. A loss that names no part counts for the training."""
    return any((part_of(name) or "train") == of for name in losses(names))


def _size(batch: Any) -> int:
    """How many samples a batch has: the length of the first tensor in it."""
    size = next(iter(_extract_batch_size(batch)), None)
    return size or 1
