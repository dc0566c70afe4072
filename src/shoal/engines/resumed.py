"""What a training that goes on keeps: the settings of callbacks and of the optimizer, and a signal to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from shoal.engines.job import Job

_PLAIN = (bool, int, float, str, type(None), list, tuple)


class CallbackSettings:
    """The settings of callbacks that have just been made; loading their state may put those they had in their place."""

    def __init__(self, callbacks: Mapping[str, pl.Callback], before: Job | None) -> None:
        """`before` is the job whose callbacks saved the state that will be loaded, where it was another one."""
        self._resumed = before is not None
        self._callbacks = callbacks
        self._changed: list[tuple[pl.Callback, str, Any]] = []
        saved = before.callbacks if before else {}
        for name, callback in callbacks.items():
            # Neither has trained yet: in what they differ, the configurations that they were made from do.
            old, new = _attributes(saved.get(name)), _attributes(callback)
            self._changed += [(callback, key, new[key]) for key in old.keys() & new.keys() if old[key] != new[key]]

    def restore(self, *, over: bool) -> None:
        """Give the callbacks back what of their settings was changed.

        An early stopping whose settings were changed forgets the signal that it has given. So does one whose signal had
        ended the training, which `over` says, where the training now goes on.
        """
        for callback, name, value in self._changed:
            setattr(callback, name, value)
        changed = [callback for callback, _, _ in self._changed]
        for callback in self._callbacks.values():
            if isinstance(callback, EarlyStopping) and (callback in changed or (over and self._resumed)):
                callback.stopped_epoch = 0
                callback.stopping_reason = EarlyStoppingReason.NOT_STOPPED
                callback.stopping_reason_message = None


def _attributes(callback: pl.Callback | None) -> dict[str, Any]:
    """The plain attributes of a callback: its settings among them."""
    return {key: value for key, value in vars(callback).items() if isinstance(value, _PLAIN)} if callback else {}


def signaled(callbacks: Mapping[str, pl.Callback]) -> bool:
    """Whether one of them has given the signal to stop, which Lightning follows once `min_epochs` are done."""
    stopping = [each for each in callbacks.values() if isinstance(each, EarlyStopping)]
    return any(each.stopping_reason is not EarlyStoppingReason.NOT_STOPPED for each in stopping)


class KeptRate(pl.Callback):
    """Gives the optimizer of a training that goes on its settings back, once stochastic weight averaging has begun.

    Lightning makes that callback's scheduler anew, which sets the rate of its first epoch before its state is loaded.
    """

    def __init__(self) -> None:
        self._groups: list[dict[str, Any]] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take note of them."""
        if not trainer.lr_scheduler_configs:  # the callback has taken its place: it had begun before
            self._groups = [{**group, "params": ()} for group in trainer.optimizers[0].param_groups]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give them back, in the first epoch."""
        groups, self._groups = self._groups, None
        for group, kept in zip(trainer.optimizers[0].param_groups, groups or (), strict=False):
            group.update({name: value for name, value in kept.items() if name != "params"})
