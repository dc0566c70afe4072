"""The Trainer as a run of a stack sees it: its own, as if the run trained alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerState, TrainerStatus
from torch import Tensor

from shoal.engines.job import Job
from shoal.engines.length import n_batches, n_of
from shoal.engines.stack.rates import Rate
from shoal.engines.stack.run_optimizer import RunOptimizer, StateElsewhere
from shoal.schedulers import Horizon
from shoal.step.attributes import marks
from shoal.step.unfit import CannotStackError

_IN_MODULE = "configure_optimizers of a LightningModule makes optimizers and schedulers that hooks may change"
_MOVING = frozenset(
    [
        "current_epoch",
        "epochs_done",
        "global_step",
        "should_stop",
        "callback_metrics",
        "loggers",
        "rate",
        "callbacks",
    ]
)
"""What changes of it while a run trains."""


class _Unmeasured:
    """Stands for metrics where a stack does not know them."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise CannotStackError("asks for metrics", "a hook of the epoch's end may set the learning rate by them")

    __getitem__ = __contains__ = __iter__ = __len__ = get = items = keys = values = _refuse


class RunTrainer:
    """What the hooks of a module and of callbacks may ask of the Trainer, and tell it.

    Whatever else is asked of it is a `CannotStackError`.
    """

    _fixed = False
    """Whether its settings stay as they are from now on."""
    world_size = num_devices = num_nodes = 1
    global_rank = local_rank = node_rank = 0
    is_global_zero = True
    fast_dev_run = sanity_checking = False
    progress_bar_callback = early_stopping_callback = checkpoint_callback = None

    def __init__(self, job: Job, module: pl.LightningModule, horizon: Horizon) -> None:
        settings = job.trainer
        self._job = job
        self.horizon = horizon
        self.lightning_module = self.model = module
        self.callbacks = list(job.callbacks.values())
        self.max_epochs: int | None = settings.get("max_epochs")
        self.max_steps: int = settings.get("max_steps", -1)
        self.min_epochs: int | None = settings.get("min_epochs")
        self.min_steps: int | None = settings.get("min_steps")
        # Infinite where nothing but a stop ends the training, as Lightning says it.
        self.estimated_stepping_batches = math.inf if horizon.steps is None else horizon.steps
        self.accumulate_grad_batches = int(settings.get("accumulate_grad_batches") or 1)
        self.check_val_every_n_epoch: int | None = settings.get("check_val_every_n_epoch", 1)
        self.gradient_clip_val = settings.get("gradient_clip_val")
        self.gradient_clip_algorithm = settings.get("gradient_clip_algorithm")
        self.precision = job.precision
        self.state = TrainerState(TrainerStatus.RUNNING, TrainerFn.FITTING, RunningStage.TRAINING)
        self.current_epoch = 0
        self.epochs_done = 0
        """Epochs whose steps are taken: by these the rate goes."""
        self.global_step = 0
        self.should_stop = False
        self.callback_metrics: dict[str, Tensor] = {}
        self.loggers: Sequence[Logger] = []
        self.rate: Rate | RunOptimizer | None = None
        """What the run is stepped by, once that is known."""
        self._samples: Any = None
        """What the DataModule held, once it was asked for."""
        self._shown: torch.optim.Optimizer | None = None
        self._optimizes = module.automatic_optimization
        self._fixed = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._fixed and not (name in _MOVING or name.startswith("_")):
            # Without this what a hook sets would be without effect, and nobody would be told.
            raise CannotStackError(
                f"sets trainer.{name}, which is the same for all runs of a stack", "should_stop may be set for each run"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        # copy and pickle ask for such names, and take only this error for a no.
        if name.startswith("__"):
            raise AttributeError(name)
        raise CannotStackError(
            f"asks its Trainer for {name}, which a run of a stack does not have",
            "its lengths, callback_metrics, optimizers, loggers and datamodule may be asked for",
        )

    @property
    def logger(self) -> Logger | None:
        """The first of its loggers, which writes into the run's directory."""
        return self.loggers[0] if self.loggers else None

    @property
    def log_dir(self) -> str | None:
        """The run's directory."""
        return getattr(self.logger, "log_dir", None)

    default_root_dir = log_dir

    @property
    def num_training_batches(self) -> int:
        """Batches of an epoch."""
        return n_batches(self._job.trainer, len(self._job.sources()[0]))

    @property
    def num_val_batches(self) -> list[int]:
        """Batches of the validation."""
        return [n_of(self._job.trainer.get("limit_val_batches"), len(each)) for each in self._job.sources()[1]]

    @cached_property
    def datamodule(self) -> pl.LightningDataModule | None:
        """One like the run's, prepared and set up."""
        made = getattr(self._job.task, "drawn_datamodule", lambda: None)()
        if made is not None:
            made.prepare_data()
            made.setup("fit")
            self._samples = marks(made)
        return made

    @property
    def optimizers(self) -> list[Any]:
        """The optimizer of the run; where a rule steps it, one like it to be looked at."""
        if isinstance(self.rate, RunOptimizer):
            return self.rate.each
        assert self.rate is not None
        if self._shown is None:
            self._shown = self._job.optimizer.of(self.lightning_module)
            self._shown.state = StateElsewhere()  # type: ignore[assignment]
        # At each look: its rate is that of the step that comes next.
        for group, settings in zip(self._shown.param_groups, self._like(), strict=True):
            group.update(settings)
        return [self._shown]

    @property
    def steppers(self) -> list[Any]:
        """Its own optimizer and schedulers, where it has some."""
        own = self.rate
        return [*own.each, *(each.scheduler for each in own.scheduled)] if isinstance(own, RunOptimizer) else []

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """The schedulers of the run, and when they step."""
        if isinstance(self.rate, RunOptimizer):
            return list(self.rate.scheduled)
        raise CannotStackError("asks for its scheduler, but a stack steps all runs by a rule", _IN_MODULE)

    @property
    def training(self) -> bool:
        """Whether it does not validate now."""
        return self.state.stage is RunningStage.TRAINING

    @property
    def validating(self) -> bool:
        """Whether it validates now."""
        return self.state.stage is RunningStage.VALIDATING

    @property
    def evaluating(self) -> bool:
        """Whether it validates now, by another name."""
        return self.validating

    testing = predicting = False

    def stand(self, epoch: int, step: int) -> None:
        """Let it be there in the training, whoever asks it: hooks, or the function of a scheduler."""
        self.current_epoch, self.global_step = epoch, step

    def know(self, metrics: Mapping[str, float]) -> None:
        """Know what the run has measured."""
        self.callback_metrics |= {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}

    @contextmanager
    def unmeasured(self) -> Iterator[None]:
        """Know no metrics: Lightning's schedulers step before an epoch is measured, between two of its steps."""
        before = self.callback_metrics
        self.callback_metrics = _Unmeasured()  # type: ignore[assignment]
        try:
            yield
        finally:
            self.callback_metrics = before

    def moved(self) -> dict[str, Any]:
        """What has changed of it since the training began, as it is now."""
        found = {name: each for name, each in vars(self).items() if name in _MOVING}
        return {name: dict(each) if isinstance(each, dict) else each for name, each in found.items()}

    def validates(self, *, now: bool) -> None:
        """Let it say whether it validates."""
        self.state.stage = RunningStage.VALIDATING if now else RunningStage.TRAINING

    def check(self) -> None:
        """See that nobody has changed what is only there to be looked at: the DataModule, an optimizer beside a rule.

        Raises:
            CannotStackError: where somebody has.
        """
        if self._samples is not None and marks(self.datamodule) != self._samples:
            raise CannotStackError(
                "changes the DataModule, which gives each run its samples", "its own setup may make what it needs"
            )
        if self.lightning_module.automatic_optimization != self._optimizes:
            raise CannotStackError(
                "sets automatic_optimization, by which a stack's runs train together", "what __init__ sets stays so"
            )
        shown = [self._shown] if self._shown else []
        own = self.rate.each if isinstance(self.rate, RunOptimizer) else shown
        if any(not isinstance(each.state, StateElsewhere) for each in own):
            raise CannotStackError(
                "gives its optimizer another state, which no step of a stack looks at",
                "its param_groups may be looked at",
            )
        if self._shown is not None and self._like() != _settings(self._shown):
            raise CannotStackError("sets the optimizer's settings, but a stack steps all runs by a rule", _IN_MODULE)

    def _like(self) -> list[dict[str, Any]]:
        """The settings of the optimizer now."""
        assert self.rate is not None
        lr = self.rate.at(self.epochs_done, self.global_step)
        fixed = _settings(self._job.optimizer.of(self.lightning_module))
        return [{**group, "lr": lr} for group in fixed]


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
