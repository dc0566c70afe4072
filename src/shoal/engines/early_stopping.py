"""Lightning's early stopping, which may look for the metric itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge
from pytorch_lightning import callbacks

from shoal.judging import AUTO, Mode, judge, part_of, required, way_of


class EarlyStopping(callbacks.EarlyStopping):
    """Stops when `monitor` has not improved for `patience` epochs, or validations where these come more seldom."""

    def __init__(
        self,
        *,
        monitor: str = AUTO,
        mode: Mode = "auto",
        min_delta: float = 0.0,
        patience: Annotated[int, Ge(0)] = 10,
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        verbose: bool = False,
        log_rank_zero_only: bool = False,
    ) -> None:
        """`auto` is the metric that a run is judged by, and the direction that a metric's name says."""
        super().__init__(
            monitor,
            mode=way_of(mode, monitor),
            min_delta=min_delta,
            patience=patience,
            strict=strict,
            check_finite=check_finite,
            stopping_threshold=stopping_threshold,
            divergence_threshold=divergence_threshold,
            check_on_train_epoch_end=check_on_train_epoch_end,
            verbose=verbose,
            log_rank_zero_only=log_rank_zero_only,
        )
        self._asked: tuple[str, Mode] = monitor, mode

    @property
    def state_key(self) -> str:
        """By what was asked for: a training that goes on loads the state before it knows what `auto` finds."""
        monitor, mode = self._asked
        return self._generate_state_key(monitor=monitor, mode=mode)

    def choose(self, names: Iterable[str]) -> None:
        """Watch the one of these metrics that a run is judged by, where none was named.

        Raises:
            ConfigError: where none of them tells how good a model is.
        """
        if self.monitor == AUTO:
            self._watch(required("callbacks.early_stopping.monitor", names))

    def _watch(self, monitor: str) -> None:
        before, self.monitor, self.mode = self.mode, monitor, way_of(self._asked[1], monitor)
        if self.mode == before:
            return
        # Lightning gives both their signs when it makes the callback; a best score that was loaded stays.
        self.min_delta = -self.min_delta
        if torch.isinf(self.best_score):
            self.best_score = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look, where a validation has what is to be looked at."""
        if self.monitor == AUTO and not self._should_skip_check(trainer):
            # Within an epoch the training's loss is one of a single step.
            self._choose_of_validation(trainer.callback_metrics)
        if self.monitor != AUTO:
            super().on_validation_end(trainer, pl_module)

    def _choose_of_validation(self, metrics: Mapping[str, Any]) -> None:
        found = judge(metrics)
        if found and part_of(found) == "val":
            self._watch(found)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look; without a validation, or one that measures nothing that judges, at the training's loss."""
        if self.monitor == AUTO and not self._should_skip_check(trainer):
            if trainer.enable_validation and not trainer.fit_loop.epoch_loop.val_loop._has_run:
                return
            self.choose(trainer.callback_metrics)
            if part_of(self.monitor) != "val":
                self._check_on_train_epoch_end = True  # a validation's end has the epoch's before
        super().on_train_epoch_end(trainer, pl_module)
