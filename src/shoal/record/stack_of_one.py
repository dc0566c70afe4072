"""A run as a stack of its own: the vectorised engine, recorded as any run is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import pytorch_lightning as pl

from shoal.engines.job import Job
from shoal.engines.lightning import expected_warnings
from shoal.engines.position import Position
from shoal.engines.stack.run_optimizer import UnfitError
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.gone_on import go_on_from
from shoal.engines.vectorized.hooks.tried import callbacks_as_they_were
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import of_mapping
from shoal.engines.vectorized.probing.failure_words import reason as why_unmapped
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.record.callbacks import unasked
from shoal.record.checkpoints.checkpoint import Checkpoint
from shoal.record.checkpoints.checkpoint_file import EXTRA, SealedIO
from shoal.record.endings import Diverged
from shoal.record.interruption import Interruption
from shoal.record.loggers.recorder import Recorder
from shoal.record.progress import Progress
from shoal.record.rate_told import tell_rate
from shoal.record.stack_faults import UnmappedError
from shoal.seeding import seed_global
from shoal.step.unfit import CannotStackError
from shoal.tasks.announce import announce


def unlike_lightning(job: Job) -> str | None:
    """Why a job would not train as a stack as it does under the Lightning engine, or None; a step of it is tried."""
    try:
        with callbacks_as_they_were([job]):
            return unlike_alone(Running([Member.of(job)])).get(0)
    except (UnfitError, CannotStackError) as error:
        return str(error)


def fit(
    job: Job,
    module: pl.LightningModule,
    recorder: Recorder,
    checkpoint: Checkpoint,
    interruption: Interruption,
    *,
    state: Mapping[str, Any] | None = None,
    before: Job | None = None,
    over: bool = False,
) -> pl.Trainer:
    """Train the job from `state` where there is one; `module` has the final weights afterwards.

    `before` is the job that this state was saved by, where it was another one. `over` says that this state is the end
    of a training: one that goes on only under other settings.

    Raises:
        Diverged: where a loss or a gradient is not finite.
        UnmappedError: where a step does what no stack can follow, after the probe has not seen it.
    """
    member = Member.of(job)
    member.trainer.loggers = [recorder]
    running = Running([member])
    if state:
        go_on_from(state, running, 0, batch=state[EXTRA]["position"][1], before=before, over=over)
        if before or not over:
            tell_rate(state, running.rates[0].at(running.epoch, running.step))
    telling = _Telling(job, recorder, checkpoint, interruption, state, stays=over and before is None)
    shown = [each for each in job.callbacks.values() if isinstance(each, Progress)]
    try:
        with expected_warnings():
            trainer = driver.fit(running, telling, callbacks=[telling, interruption, *shown, checkpoint], io=SealedIO())
    except Exception as error:
        if of_mapping(error):
            raise UnmappedError(why_unmapped(error, member.module)) from error
        raise
    # `module` is the caller's, drawn in single precision; the stack has trained one of its own.
    module.to(next(member.module.parameters()).dtype)
    module.load_state_dict(running.checkpoint(0)["state_dict"])
    return trainer


class _Telling(pl.Callback):
    """Hands what the run measures to its recorder, as if the run had logged it itself."""

    def __init__(
        self,
        job: Job,
        recorder: Recorder,
        checkpoint: Checkpoint,
        interruption: Interruption,
        state: Mapping[str, Any] | None,
        *,
        stays: bool,
    ) -> None:
        self.recorder = recorder
        self.checkpoint = checkpoint
        self.interruption = interruption
        self.state = state
        self.stays = stays
        self.seed = job.seed
        self._dropped = unasked(job)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Get to know the Trainer, and let the checkpoint callback go on from its own state."""
        self.trainer = trainer
        self.recorder.attach(trainer)
        if self.state is not None:
            self.interruption.checkpoint = None  # until the rest of an epoch that had begun is done
            # This Trainer loads no checkpoint: its module is the stack, into which `go_on_from` has put the state.
            self.checkpoint.on_load_checkpoint(trainer, pl_module, dict(self.state))
            self.checkpoint.load_state_dict(self.state["callbacks"][self.checkpoint.state_key])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stay where the training had come to its end already."""
        trainer.should_stop = self.stays

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the global generators, from which nothing in a stack draws, as the epoch begins for any run."""
        seed_global(self.seed, trainer.current_epoch)

    def on_cut_short(self, trainer: pl.Trainer) -> None:
        """The same for the state that is taken now: tracing the step may have drawn from them."""
        seed_global(self.seed, trainer.current_epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """And for the last state."""
        seed_global(self.seed, trainer.current_epoch)

    def is_asked_to_stop(self) -> bool:
        """Whether a signal has come."""
        return self.interruption.received is not None

    def stopped(self, running: Running) -> NoReturn:
        """Save where the run stands.

        Raises:
            Interrupted: always.
        """
        self.on_cut_short(self.trainer)
        position = Position(running.epoch, running.batch, running.step)
        self.checkpoint.save(self.trainer, position)
        raise self.interruption.at(position)

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        """Record an epoch.

        Raises:
            Diverged: where it was the run's last because something is not finite.
        """
        [row] = epochs
        metrics = {name: value for name, value in row.metrics.items() if name not in self._dropped}
        # Callbacks may watch all of them; rows have those that a step logs for the history.
        announce(self.trainer, metrics)
        unlogged = running.unlogged
        self.recorder.log_metrics({name: value for name, value in metrics.items() if name not in unlogged})
        if row.ended == "diverged":
            found = running.stack.diverged[0]
            norms = [norm for norm in (row.norm, self.recorder.largest_norm()) if norm is not None]
            raise Diverged(f"the {found.what}", math.nan, found.step, row.epoch, max(norms, default=None))
        self.interruption.checkpoint = self.checkpoint
