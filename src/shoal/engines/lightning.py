"""One run under the plain Lightning Trainer."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import ModelSummary, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.model_helpers import is_overridden

from shoal.engines import launching
from shoal.engines.begun_processes import BegunProcesses
from shoal.engines.course import Course, take_over
from shoal.engines.epoch_ends import EpochEnds, LastSteps
from shoal.engines.hook_names import drop_unused
from shoal.engines.job import Job
from shoal.engines.left_gradients import KEY, left, put_back
from shoal.engines.length import horizon, may_end, n_batches
from shoal.engines.loaders import Loaders, tell_of_padding
from shoal.engines.modes import Modes
from shoal.engines.position import Position, install, move
from shoal.engines.pruned import prune_again, pruned
from shoal.engines.queues import limited_again
from shoal.engines.resumed import CallbackSettings, KeptRate, signaled
from shoal.engines.returned import Returned
from shoal.engines.shares import share
from shoal.engines.spikes import make_readable, see_again, seen
from shoal.engines.unprofiled import Unprofiled
from shoal.seeding import seed_global
from shoal.tasks import LightningTask, Supervised

EXPECTED_WARNINGS = (
    ".*smaller than the logging interval.*",  # rows are written once an epoch, by intention
    ".*have no `val_dataloader`.*",  # a task without validation samples
    ".*does not have many workers.*",  # data this small is not worth a process
    ".*callbacks used to create the checkpoint need to be provided.*",  # a resume says what it changed
    ".*Checkpoint directory .* exists and is not empty.*",  # of a callback's own checkpoints, in a run that goes on
    ".*isinstance.treespec, LeafSpec.*",  # Lightning against a newer torch
    ".*AMP with fp16 is not supported on CPU.*",  # the record of a run says it once
)


class Positioner(pl.Callback):
    """Puts the batches at the right epoch, and a resumed training where it stopped."""

    def __init__(self, job: Job, loaders: Loaders, start: Position, before: Job | None, *, over: bool) -> None:
        self.job = job
        self.loaders = loaders
        self.start = start
        self.before = before
        self.over = over
        self.settings = CallbackSettings(job.callbacks, before)
        self._loaded: list[dict[str, Any]] = []
        self._pruned: dict[str, Any] = {}
        self._seen: list[dict[str, Any]] = []
        self._gradients: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """When the data loaders were made."""
        return self.loaders.made.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Make them as they were made."""
        self.loaders.made.load_state_dict(state_dict)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Follow how data loaders are made, and convert the layers that are: a state put into them is not rounded."""
        self.loaders.made.follow(trainer, pl_module)
        if not is_overridden("setup", pl_module):
            return
        own, before = vars(pl_module), pl_module.setup

        @functools.wraps(before)
        def converted(*args: Any, **kwargs: Any) -> None:
            # Called once, next: afterwards the module has no hook but its own.
            del own["setup"]
            own.update(kept)
            before(*args, **kwargs)
            trainer.precision_plugin.convert_module(pl_module)

        kept = {"setup": own["setup"]} if "setup" in own else {}
        own["setup"] = converted

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what is pruned, losses by which spikes are found, and gradients that others may be added to."""
        if kept := pruned(trainer.callbacks, pl_module):  # type: ignore[attr-defined]
            checkpoint["pruned"] = kept
        if losses := seen(trainer.callbacks):  # type: ignore[attr-defined]
            checkpoint["seen"] = losses
        if gradients := left(pl_module):
            checkpoint[KEY] = gradients

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep Lightning from restoring its counters: `move` does.

        Where weights are averaged no more, go on from those that were trained: the optimizer's state is theirs.
        """
        checkpoint.pop("loops", None)
        self._loaded, self._pruned = checkpoint["optimizer_states"], checkpoint.pop("pruned", {})
        self._seen = checkpoint.pop("seen", [])
        make_readable(trainer.callbacks)  # type: ignore[attr-defined]
        self._gradients = checkpoint.pop(KEY, {})
        averages = any(isinstance(each, WeightAveraging) for each in trainer.callbacks)  # type: ignore[attr-defined]
        if "current_model_state" in checkpoint and not averages:
            pl_module.load_state_dict(checkpoint["current_model_state"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go to the position; where the training had come to its end already, stay there."""
        prune_again(trainer.callbacks, pl_module, self._pruned)  # type: ignore[attr-defined]
        put_back(pl_module, self._gradients)
        see_again(trainer.callbacks, self._seen)  # type: ignore[attr-defined]
        if self._loaded:
            limited_again(trainer.optimizers, self._loaded)
        move(trainer, self.start)
        self.loaders.made.begin(trainer)
        free = may_end(self.job.trainer, epochs=self.start.epoch, steps=self.start.step)
        self.settings.restore(over=self.over and free)
        trainer.should_stop |= (self.over and self.before is None) or signaled(self.job.callbacks)
        if self.before is not None:
            _take_over(trainer, self.before, self.job)
        _watch_where_measured(trainer)
        tell_of_padding(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give this epoch its order, and code that draws from global generators its numbers."""
        epoch = trainer.current_epoch
        seed_global(self.job.seed, epoch)
        self.loaders.begin(trainer, epoch, self.start.batch if epoch == self.start.epoch else 0)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from when the data loaders were made."""
        self.loaders.made.count_from(trainer)


def fit(
    job: Job,
    module: pl.LightningModule,
    *,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    io: CheckpointIO | None = None,
    directory: Path | None = None,
    checkpoint: Path | None = None,
    start: Position | None = None,
    before: Job | None = None,
    over: bool = False,
    processes: BegunProcesses | None = None,
) -> pl.Trainer:
    """Train `module` as the job says, from `start` with the state in `checkpoint` where one is given.

    `directory` is where modules and callbacks find `trainer.default_root_dir`. `before` is the job that this state was
    saved by, where it was another one. `over` says that this state is the end of a training, whatever ended it: under
    the same settings only what follows it is done. `processes` looks after those that the Trainer begins.
    """
    start = start or Position()
    # Before the loaders are made, which may draw, as a random split does.
    seed_global(job.seed)
    loaders = Loaders(job)
    # Before all others, which then find the training at its place, and what an epoch measured known.
    first: list[pl.Callback] = [Positioner(job, loaders, start, before, over=over), EpochEnds()]
    first += [LastSteps(), Returned()] if job.own_module else []
    if job.trainer.get("enable_model_summary") and not any(isinstance(each, ModelSummary) for each in callbacks):
        first.append(ModelSummary())  # of itself Lightning would print the table, where it finds rich
    everyone = [*first, *callbacks, Modes()]
    if checkpoint is not None and any(isinstance(each, StochasticWeightAveraging) for each in callbacks):
        everyone.append(KeptRate())
    for callback in everyone:
        drop_unused(callback)
    trainer = build_trainer(job.trainer, callbacks=everyone, loggers=loggers, io=io, directory=directory)
    install(trainer)
    share(trainer)
    launching.log_starter(trainer)
    if isinstance(module, Supervised):
        module.logs_steps = job.trainer["log_every_n_steps"] is not None
    loaders.prepare(trainer, start)
    trainer.precision_plugin.convert_module(module)  # before a state is put into it, or that state is rounded
    looked_after = processes.watched(trainer) if processes else nullcontext()
    with _threads(job.threads), expected_warnings(), looked_after:
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True if checkpoint else None, **loaders.arguments())
    return trainer


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Compute with `n` CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Leave out the warnings that say what is meant to be."""
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def _take_over(trainer: pl.Trainer, before: Job, job: Job) -> None:
    """Let the optimizer and the scheduler follow the job's settings where they differ from those they had before."""
    if isinstance(job.task, LightningTask) and job.task.optimizes:
        return  # the module's own settings cannot have changed
    # What a scheduler was set up with; of several processes only the Trainer knows how many batches each has.
    counted = len(job.batches()[0]) if job.in_memory and trainer.world_size == 1 else None
    there = trainer.num_training_batches
    courses = []
    for each in (before, job):
        n = n_batches(each.trainer, counted) if counted else None if math.isinf(there) else int(there)
        courses.append(Course.of(each, horizon(each.trainer, n)))
    for config in trainer.lr_scheduler_configs:
        take_over(trainer.optimizers[0], config.scheduler, *courses)


def _watch_where_measured(trainer: pl.Trainer) -> None:
    """Let a scheduler that watches a metric of the validation wait for each validation.

    With `check_val_every_n_epoch` above 1 Lightning would ask for it after the first epoch, and stop the training.
    """
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and str(config.monitor).startswith("val"):
            config.frequency = max(config.frequency, trainer.check_val_every_n_epoch or 1)


def evaluate(job: Job, module: pl.LightningModule, *, test: bool = False) -> dict[str, float]:
    """Metrics of `module` on the validation samples, on those of training where there are none; or on the test part.

    One process measures them, however many have trained.
    """
    # All samples are measured, and of that nobody wants a profile.
    settings = {**launching.in_one_process(job.trainer), "fast_dev_run": False, "profiler": None}
    trainer = build_trainer(settings, callbacks=[Returned()] if job.own_module else [])
    loaders = Loaders(job)
    with _threads(job.threads), expected_warnings():
        if test:
            trainer.test(module, verbose=False, **loaders.test(job))
        else:
            trainer.validate(module, verbose=False, **loaders.validation())
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def build_trainer(
    settings: Mapping[str, Any],
    *,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    io: CheckpointIO | None = None,
    directory: Path | None = None,
) -> pl.Trainer:
    """The Trainer with these arguments, and with what records it."""
    given = dict(settings)
    given["profiler"] = given.get("profiler") or Unprofiled()
    if given.get("gradient_clip_val") is None and given.get("gradient_clip_algorithm") == "norm":
        # Lightning's own default: as a setting it would forbid a module to clip values by hand.
        given["gradient_clip_algorithm"] = None
    plugins = given.pop("plugins", None) or []
    every = given.pop("log_every_n_steps", None)
    with expected_warnings():
        return launching.trainer(
            **given,
            callbacks=list(callbacks),
            logger=list(loggers),
            plugins=[*(plugins if isinstance(plugins, list) else [plugins]), *([io] if io else [])],
            log_every_n_steps=every or 2**31,
            enable_progress_bar=False,
            default_root_dir=directory,
            # Else Lightning adds a ModelCheckpoint of its own, which writes into the working directory.
            enable_checkpointing=any(isinstance(each, pl.callbacks.Checkpoint) for each in callbacks),
        )
