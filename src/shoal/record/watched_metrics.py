"""Whether what other callbacks watch is logged at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytorch_lightning as pl

from shoal.errors import ConfigError, suggestion


class Watched(pl.Callback):
    """Refuses, at the end of the first epoch that is validated, a callback whose metric was not logged by then.

    It stands before the others: Lightning's own give an error of another kind, or say nothing and do nothing.
    """

    def __init__(self, callbacks: Mapping[str, pl.Callback], directed: Callable[[str], None]) -> None:
        """`callbacks` are those that have a `monitor`, by their names in the configuration.

        `directed` raises for one whose metric is logged, and of which nobody can know which way it is better.
        """
        self._callbacks = dict(callbacks)
        self._directed = directed
        self._seen = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what has been logged.

        Raises:
            ConfigError: for the first metric that is not there.
        """
        every = trainer.check_val_every_n_epoch or 1
        validated = not trainer.enable_validation or (trainer.current_epoch + 1) % every == 0
        # Before the first validation a metric of it cannot be there, and its absence says nothing.
        if self._seen or not validated:
            return
        self._seen = True
        for name, callback in self._callbacks.items():
            monitor = getattr(callback, "monitor", None)
            # Who sets strict=False has said that the metric may be missing.
            if isinstance(monitor, str) and getattr(callback, "strict", True):
                self._check(trainer, name, monitor)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same for one that looks whenever a validation ends, which may be before the epoch does."""
        if trainer.sanity_checking or self._seen:
            return
        for name, callback in self._callbacks.items():
            if getattr(callback, "_check_on_train_epoch_end", True) is False and getattr(callback, "strict", True):
                self._check(trainer, name, callback.monitor)  # type: ignore[attr-defined]

    def _check(self, trainer: pl.Trainer, name: str, monitor: str) -> None:
        key, there = f"callbacks.{name}.monitor", trainer.callback_metrics
        if monitor not in there:
            raise ConfigError(key, monitor, "is never logged", hint=suggestion(monitor, there, kind="logged are"))
        self._directed(name)
