"""Trains a job into a run directory, from the beginning or from where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from shoal.engines import lightning
from shoal.engines.begun_processes import BegunProcesses
from shoal.engines.job import Job
from shoal.engines.position import Position
from shoal.errors import ShoalError, brief, warn
from shoal.record import environment
from shoal.record.checkpoints.checkpoint import Checkpoint, checkpoint_of
from shoal.record.checkpoints.checkpoint_file import EXTRA, SealedIO, load
from shoal.record.checkpoints.other_checkpoints import place_in
from shoal.record.checkpoints.ownership import refuse_another, refuse_part_of_an_epoch
from shoal.record.checkpoints.packed import made_anew, refuse_incomplete
from shoal.record.computing import tell_of_others, tell_of_precision
from shoal.record.conclusion import Concluded, concluded, n_parameters
from shoal.record.endings import status_of
from shoal.record.interruption import Interruption
from shoal.record.loggers.hyperparameters import hyperparameters, results
from shoal.record.loggers.other_loggers import finishing
from shoal.record.loggers.recorder import Recorder
from shoal.record.loggers.trackers import following, usable
from shoal.record.progress import Progress
from shoal.record.rate_told import RateTold
from shoal.record.run_record import RunRecord
from shoal.record.stack_faults import UnmappedError
from shoal.rundir import RunDir, RunInfo, Status, claim, heartbeat, write_text
from shoal.rundir.atomic import UnwritableError
from shoal.rundir.heartbeat import beating
from shoal.signals import Interrupted
from shoal.tasks import Supervised

log = logging.getLogger("shoal")


def train(
    job: Job,
    run: RunDir,
    info: RunInfo,
    *,
    checkpoint: Path | None = None,
    before: Job | None = None,
    one_of_many: bool = False,
    stacked: bool = False,
) -> RunInfo:
    """Train `job` in `run`, from the state in `checkpoint` where there is one; what run.json says in the end.

    `before` is the job that this state was saved by, where the training is to go on under other settings than that.
    As `one_of_many` it draws no figure, which takes longer than many a training, and its commit is the one in `info`.
    If `stacked`, it is a stack of its own: the vectorised engine trains it.

    Raises:
        UsageError: where another process trains there.
        Diverged, Interrupted, ShoalError, or what the job itself raised: after it is recorded.
        UnmappedError: where it was to train as a stack, and does what none can follow; nothing of it is recorded.
    """
    interruption = Interruption()
    beat = nullcontext() if one_of_many else beating(run.info)
    # The claim first: nothing is touched of a run that another process trains.
    with claim(run), beat, interruption.listening(), finishing(job.loggers.values()):
        return _Session(job, run, info, interruption, checkpoint, before, one_of_many, stacked).train()


class _Session:
    """One process at work on one run directory."""

    def __init__(
        self,
        job: Job,
        run: RunDir,
        info: RunInfo,
        interruption: Interruption,
        origin: Path | None,
        before: Job | None,
        one_of_many: bool,
        stacked: bool,
    ) -> None:
        self.job = job
        self.one_of_many = one_of_many
        self.stacked = stacked
        self.run = run
        self.interruption = interruption
        self.origin = origin
        self.before = before
        self.state = load(origin) if origin else None
        self.processes = BegunProcesses(self._fail)
        self.module = job.module()
        self.concluded = Concluded()
        if self.state:
            refuse_another(origin, self.state, job.module_for(self.state["state_dict"]))
            self.state = made_anew(self.state, self.module)
            refuse_incomplete(origin, self.state)
            refuse_part_of_an_epoch(job, origin, self._position())
        self.record = self._opened(info)
        self.recorder = Recorder(self.record)

    def train(self) -> RunInfo:
        """Train, and record how it ended."""
        log.info("training %s with seed %d, from step %d", self.info.task, self.job.seed, self._position().step)
        try:
            began = time.monotonic()
            trainer = self._fit()
            self.record.update(fit_seconds=self.info.fit_seconds + time.monotonic() - began)
            self._describe(trainer)
            if trainer.is_global_zero:
                self._conclude()
        except UnmappedError:
            raise  # of nobody's fault, and nothing is recorded: the run begins anew
        except BaseException as raised:
            # What raised may be but what came of it: a signal, or another process that has ended.
            error = self.processes.cause(self.interruption.cause(raised))
            log.error("%s", brief(error))
            self._fail(error)
            if isinstance(error, Interrupted):
                error.goes_on(self.run.path)
            if error is not raised:
                raise error from raised
            raise
        self._end(Status.COMPLETED, None)
        log.info("completed after %d steps: %s", self.info.steps, self.info.final)
        self.interruption.finish()
        return self.info

    @property
    def info(self) -> RunInfo:
        """What run.json says, or will say in the end."""
        return self.record.info

    def _position(self) -> Position:
        return Position(*self.state[EXTRA]["position"]) if self.state else Position()

    def _opened(self, info: RunInfo) -> RunRecord:
        """Begin the record, new or from where the state was kept, with the changes of the working tree."""
        git, patch = (info.git, "") if self.one_of_many else environment.working_tree()
        if patch:
            write_text(self.run.patch, patch)
        info = replace(info, engine="vectorized" if self.stacked else "lightning", git=git)
        if self.state:
            tell_of_others(info)
        extra = self.state[EXTRA] if self.state else {}
        # The last measurements of a training that is over are rows that a longer one does not have.
        kept = extra.get("over") if self._stays() else extra.get("files")
        return RunRecord(self.job, self.run, info, kept=kept, beats=None if self.one_of_many else heartbeat.SECONDS)

    def _fit(self) -> pl.Trainer:
        callbacks = list(self.job.callbacks.values())
        told = [RateTold(self.state)] if self.state and not self._stays() else []
        self.checkpoint = checkpoint_of(self.job)
        self.checkpoint.attach(self.run, self._extra, self.record.sync, self.recorder.beginning)
        self.checkpoint.whole_epochs = self.job.own_module
        self.checkpoint.measure = self._measured if self.job.validates else None
        self.recorder.listeners += [each.row for each in callbacks if isinstance(each, Progress)]
        self.interruption.checkpoint = self.checkpoint
        place_in(self.run, self.job.callbacks)
        if self.stacked:
            from shoal.record import stack_of_one  # late: what only a stack needs takes its time

            with following(self.recorder, usable(self.job, self.run, self.info)):
                return stack_of_one.fit(
                    self.job,
                    self.module,
                    self.recorder,
                    self.checkpoint,
                    self.interruption,
                    state=self.state,
                    before=self.before,
                    over=self._is_over(),
                )
        # They act in this order between two steps: the interruption saves before others begin the next one.
        others = [each for each in callbacks if each is not self.checkpoint]
        return lightning.fit(
            self.job,
            self.module,
            callbacks=[_Attach(self.recorder, self.checkpoint), *told, self.interruption, *others, self.checkpoint],
            loggers=[self.recorder, *usable(self.job, self.run, self.info, self.recorder.step)],
            io=SealedIO(self.module),
            # Of the working directory there is one for all runs of a sweep.
            directory=self.run.path.absolute(),
            checkpoint=self.origin,
            start=self._position(),
            before=self.before,
            over=self._is_over(),
            processes=self.processes,
        )

    def _stays(self) -> bool:
        """Whether there is nothing left to train."""
        return self._is_over() and self.before is None

    def _is_over(self) -> bool:
        """Whether the training had come to its end."""
        return self.state is not None and self.state[EXTRA]["over"] is not None

    def _extra(self) -> Mapping[str, Any]:
        """What each checkpoint keeps beside Lightning's own: how long the files are, and what predictions need."""
        return {"files": self.recorder.flush(), "config": dict(self.job.config), "columns": self.record.columns()}

    def _describe(self, trainer: pl.Trainer) -> None:
        parameters, trainable = n_parameters(self.module)
        precision = "64-true" if self.job.double else str(trainer.precision)
        self.record.update(
            epochs=trainer.current_epoch,
            steps=trainer.global_step,
            parameters=parameters,
            trainable=trainable,
            hardware=environment.hardware(environment.accelerator_of(trainer), trainer.num_devices, precision),
        )

    def _measured(self, weights: Mapping[str, Any]) -> dict[str, float]:
        """The validation's metrics of weights that no epoch was trained with."""
        module = self.job.module_for(weights)
        # By trainer.precision=bf16-true they are in that type, in which no module is made.
        module.to(next(each.dtype for each in weights.values() if each.is_floating_point()))
        module.load_state_dict(weights)
        return lightning.evaluate(self.job, module)

    def _conclude(self) -> None:
        """Measure the best state, draw the figure and fill the HParams tab."""
        self.recorder.close_row()
        # Where nothing is monitored the last state is all there is.
        if self.run.best.exists():
            self.module.load_state_dict(load(self.run.best)["state_dict"])
        shown = self.job.presented(self.module)
        self.concluded = concluded(shown, self.job, self.run.last, self.info.steps)
        self.record.update(fit=self.concluded.fit)
        if not self.one_of_many:
            try:
                self._illustrate(shown)
            except Exception as error:  # whatever it is: the training is done and its results are more than a picture
                warn(f"no figure: {brief(error)}")
        if self.record.events:
            settings = hyperparameters(self.info, self.job.config)
            measured = results(self._final(), self.checkpoint.best, self.record.history.columns)
            self.record.events.hyperparameters(settings, measured, step=self.info.steps)

    def _illustrate(self, module: Supervised) -> None:
        """Draw the figure of the best state, into the run directory and the event file."""
        from shoal.record.figures import run_figure  # late: many runs have none

        picture = run_figure.illustrate(self.run, module, self.job.data, self.record.history, self.info)
        if self.record.events:
            self.record.events.image("fit", picture, step=self.info.steps)

    def _final(self) -> dict[str, float]:
        return {**self.record.history.final(), **self.concluded.metrics}

    def _end(self, status: Status, reason: str | None) -> None:
        """Bring every file up to date and write the final run.json, unless somebody has taken the run away."""
        # Said in so many words: the first file to be written would only say that there is no such folder.
        if not self.run.path.is_dir():
            raise UnwritableError(self.run.path, "it was deleted while the run was training")
        self._finish_files(status)
        best = self.checkpoint.best
        self.record.close(
            status,
            reason,
            final=self._final(),
            assessment=self.concluded.assessment,
            references=dict(self.concluded.references),
            fit=self.concluded.fit,
            best=best,
            at_best=self.record.at(best),
        )

    def _fail(self, error: BaseException) -> None:
        """Record how it ended, where that can be written: the error itself is what is told."""
        try:
            self._end(status_of(error), brief(error))
        except (OSError, ShoalError) as another:
            log.error("%s", brief(another))

    def _finish_files(self, status: Status) -> None:
        """Write what waits in memory; after a failure as much of it as can be: the failure itself is what is told."""
        for write in (self.recorder.flush, self.checkpoint.states.write_best, self.checkpoint.states.write_first):
            try:
                write()
            except (OSError, ShoalError) as error:
                if status is Status.COMPLETED:
                    raise
                log.error("%s", brief(error))


class _Attach(pl.Callback):
    """Tells the recorder whose steps to count, and has the final state taken before other callbacks change it."""

    def __init__(self, recorder: Recorder, checkpoint: Checkpoint) -> None:
        self.recorder = recorder
        self.checkpoint = checkpoint

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.recorder.attach(trainer)
        tell_of_precision(self.recorder.record.job, trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.settle(trainer)
