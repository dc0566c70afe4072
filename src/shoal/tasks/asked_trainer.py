"""A Trainer that trains nothing: what gives samples may ask it how long and where it trains."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerStatus

_OF_A_TRAINING = frozenset(
    ["global_step", "callback_metrics", "logged_metrics", "progress_bar_metrics", "lightning_module", "model"]
)


class NotKnownError(Exception):
    """Samples depend on what only a Trainer of their own could tell."""


class AskedTrainer(pl.Trainer):
    """A Trainer of one process; once told, it knows the epoch of a training, and whether that validates."""

    # Lightning's own setting up reads some of these names: only afterwards an answer would be a made-up one.
    _told = False

    @classmethod
    def made(cls) -> AskedTrainer:
        """One that has not been told of a training."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a GPU that it makes no use of
            return cls(
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                # In a job of SLURM Lightning would take the cluster's, and count its processes.
                plugins=[LightningEnvironment()],
            )

    def tell(self, epoch: int, *, validates: bool) -> None:
        """Let it be in this epoch of a training."""
        self._told = True
        # What `current_epoch` is read from.
        self.fit_loop.epoch_progress.current.completed = epoch
        self.state.fn, self.state.status = TrainerFn.FITTING, TrainerStatus.RUNNING
        # `trainer.training` and `trainer.validating` are read from it.
        self.state.stage = RunningStage.VALIDATING if validates else RunningStage.TRAINING

    def __getattribute__(self, name: str) -> Any:
        if name in _OF_A_TRAINING and super().__getattribute__("_told"):
            raise NotKnownError(f"its samples depend on trainer.{name}")
        return super().__getattribute__(name)
