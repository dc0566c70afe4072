"""One Lightning Trainer that trains a stack: its batch is an epoch of all runs, its module is the stack.

The Trainer sees one module that optimizes by hand. What the runs' own steps log becomes a row of metrics for each run
and epoch, with the names and numbers that the run would have had alone. Nothing here writes files: a `Listener` is
told, and asks for states when it wants them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, NoReturn, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from shoal.engines import launching
from shoal.engines.position import Position, move
from shoal.engines.stack.allocator import keep_memory
from shoal.engines.stack.epoch import evaluate
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.stack.rates import columns
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.steady import steady
from shoal.engines.vectorized.epoch_means import epoch_means
from shoal.engines.vectorized.layers import log_layers
from shoal.engines.vectorized.listener import Listener
from shoal.engines.vectorized.probing.later import Later
from shoal.engines.vectorized.probing.rehearsal import shrink
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.stack_batches import StackBatches
from shoal.losses import Loss
from shoal.models import FormulaNetwork
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR
from shoal.step.clock import Clock
from shoal.step.logged import Stage
from shoal.step.outward import forgetting
from shoal.step.reach import Reach
from shoal.step.unfit import CannotStackError
from shoal.tasks import Supervised
from shoal.tasks.formula_problem import FormulaProblem
from shoal.tasks.residuals import problem_of


def fit(
    running: Running,
    listener: Listener,
    *,
    callbacks: Sequence[pl.Callback] = (),
    io: CheckpointIO | None = None,
) -> pl.Trainer:
    """Train the stack until every run has come to its end, under one Trainer with these callbacks.

    Where that fails, what its runs can reach outside of their modules is as it was before the stack.
    """
    keep_memory()
    log_layers(running.members[0])
    module = StackModule(running, listener)
    settings = launching.in_one_process(running.members[0].job.trainer)
    trainer = launching.trainer(
        accelerator=settings.get("accelerator", "auto"),
        devices=settings["devices"],
        max_epochs=settings.get("max_epochs") or -1,  # Lightning takes None for 1000
        check_val_every_n_epoch=settings.get("check_val_every_n_epoch", 1),
        deterministic=settings.get("deterministic"),
        num_sanity_val_steps=0,  # a batch is a whole validation here
        logger=False,
        enable_checkpointing=any(isinstance(each, pl.callbacks.Checkpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=2**31,
        callbacks=list(callbacks),
        plugins=[LightningEnvironment(), *([io] if io else [])],  # one process, whatever started it
    )
    with _as_before_if_it_fails(running), steady(), forgetting(), running.hooks.worlds.left():
        trainer.fit(module, _OneBatch(), _OneBatch() if module.validates else None)
    return trainer


@contextmanager
def _as_before_if_it_fails(running: Running) -> Iterator[None]:
    before = running.outside or Reach(running.members[0].module, keeps=True)
    try:
        yield
    except Exception:
        # Its runs are trained alone next, in this process.
        before.put_back()
        raise


class _OneBatch:
    """What Lightning iterates over in an epoch: a single batch that stands for all of it."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.zeros(())])

    def __len__(self) -> int:
        return 1


class StackModule(pl.LightningModule):
    """A stack as Lightning sees it: one module, one batch an epoch."""

    def __init__(self, running: Running, listener: Listener) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.running = running
        self.listener = listener
        self._clock = Clock(running.epoch, 0, running.step)
        self._records = [member.job.records for member in running.members]
        self._later: dict[Stage, Later] = {stage: Later(running, stage) for stage in running.steps.captured}
        self._means: dict[str, dict[str, list[float]]] = {}
        self._measures: list[Mapping[str, float]] = []
        self._validated: Mapping[int, Mapping[str, float]] = {}
        """What the validation of this epoch, if there was one, has measured of each run."""
        self._gather()

    @property
    def validates(self) -> bool:
        """Whether there are validation batches."""
        return self._batches.validates

    def configure_optimizers(self) -> list[Any]:
        """None of torch's: the stack is updated as a whole."""
        return []

    def on_train_start(self) -> None:
        """Begin where the runs are."""
        move(self.trainer, Position(self.running.epoch))
        self._count_steps()
        self._stop_when_all_ended()

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """An epoch of every run."""
        running, clock = self.running, self._clock
        first, n_batches = running.batch, running.batches_left(self._batches.n_train)
        n_steps = math.ceil(n_batches / running.accumulate)
        end = first + n_batches
        self._cut_short = end < self._batches.n_train
        self._means, self._measures, self._validated = {}, [], {}
        running.begin_epoch()
        rates = [running.rates[run] for run in running.rows]
        step = running.step
        clock.set(running.epoch, first, step)
        lrs = columns(rates, len(running.stack), epoch=running.epoch, step=step, n_steps=n_steps)
        training = running.steps.training(running.stack, running.accumulate, problem=self._problem)
        self._later["train"].look(running, lambda: [self._batches.one_of(first)], clock)
        stop = self.listener.is_asked_to_stop
        batches = self._batches.training(first, end)
        history = training.epoch(batches, lrs, clock, n_batches=end, first=first, stop=stop)
        if history.losses and running.hooks.any:
            running.hooks.gradients.left(training.last, running.live, running.steps.train.unreached or frozenset())
        running.refill("train", history.logged)
        if len(history.losses) < n_batches:
            self._stop_within(history, first)
        means = epoch_means(running, "train", history, running.sums)
        self._means["train"] = means.values | running.metrics("train")
        running.batch, running.sums = (end, means.sums) if self._cut_short else (0, {})
        self._count_steps()
        # Not the rate that a scheduler has set for the next step: alone, a run logs that of its last step.
        own = running.stack.own
        self._rates = [each.used for each in own] if own else lrs[-1][:, 0].tolist()
        if not self._cut_short:
            running.end_steps()
        self._before = history.norms[-1].tolist() if history.norms else []
        self._after = history.clipped_norms[-1].tolist() if history.clipped_norms else self._before

    def _problem(self, stack: Stack, batch: Any) -> FormulaProblem:
        """The residuals of the runs, whose model is a formula."""
        template = cast(Supervised, self.running.members[0].module)
        params, fixed = (
            {name.removeprefix("model."): value for name, value in named.items()}
            for named in (stack.views(), stack.buffers)
        )
        return problem_of(cast(FormulaNetwork, template.model), cast(Loss, template.loss), batch, params, fixed)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """The validation samples of every run; like Lightning, not after an epoch that `max_steps` cut short."""
        if self._cut_short:
            return
        self._clock.set(self.running.epoch, 0, self.running.step)  # it is not the next epoch yet
        self.running.hooks.gradients.dropped()
        self.running.stack.drop_gradients()
        self.running.call_hooks("on_validation_start", "on_validation_epoch_start")
        judged = partial(self._clock.in_turn, self._batches.judged)
        self._later["val"].look(self.running, lambda: chain.from_iterable(judged()), self._clock)
        loaders = self._batches.validation()
        stack = self.running.stack.judged
        before = dict(stack.buffers)
        try:
            history = evaluate(stack, self.running.steps.val, loaders, self._clock)
        except CannotStackError as error:
            error.within = error.within or self.running.steps.captured["val"].name
            raise
        self._see_buffers(stack, before)
        self.running.refill("val", history.logged)
        self._means["val"] = epoch_means(self.running, "val", history).values | self.running.metrics("val")
        self._measures = self._measuring.of(torch.cat(history.outputs, dim=1)) if history.outputs else []
        self._validated = {run: self._of_validation(row) for run, row in self.running.live.items()}
        self.running.call_hooks("on_validation_epoch_end", "on_validation_end", metrics=self._validated)
        self.running.reset_metrics("val")

    def _see_buffers(self, judged: Stack, before: Mapping[str, Tensor]) -> None:
        """Refuse what a validation writes to buffers that are not there for it alone.

        Averaged ones are put in place for a validation; alone, Lightning may have one before the training begins.
        """
        averaged, asked = (
            judged is not self.running.stack,
            self.running.members[0].job.trainer.get("num_sanity_val_steps"),
        )
        for name, value in judged.buffers.items() if averaged or asked else ():
            if not torch.equal(value, before[name]):
                why = "averaged" if averaged else f"written before the training by trainer.num_sanity_val_steps={asked}"
                raise CannotStackError(
                    f"writes to the buffer {name}, which is {why}",
                    "what is written there alone, in a validation, is followed",
                )

    def on_train_epoch_end(self) -> None:
        """Tell what the runs measured, and let go those that have ended."""
        running = self.running
        if self._cut_short:
            self._tell_cut_short()
        metrics = {run: self._measured(row, run) for run, row in running.live.items()}
        self.running.call_hooks("on_train_epoch_end", metrics=metrics)
        self.running.reset_metrics("train")
        for run, row in running.live.items():
            metrics[run] |= running.hooks.logged(run)
            metrics[run] |= self._recorded(row, run) if self._records[run] else {}
            running.hooks.know(run, metrics[run])
        validated = None if self._cut_short else "val" in self._means or not self.validates
        rows = running.end_epoch(metrics, validated=validated)
        # Alone, hooks of the end are not called where the training has failed.
        over = {each.run: running.rows.index(each.run) for each in rows if each.ended not in (None, "diverged")}
        running.hooks.end(over, running.stack)
        self.listener.epoch_ended(rows, running)
        if shrink(running):
            self._gather()
        self._stop_when_all_ended()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint of a single run be that of the run, as if it were what the Trainer trains."""
        if len(self.running.members) > 1:
            return
        # Those of the record are the Trainer's own: they are kept beside those that the run itself has.
        callbacks = checkpoint["callbacks"]
        checkpoint |= self.running.checkpoint(0)
        checkpoint["callbacks"] |= callbacks

    def _stop_when_all_ended(self) -> None:
        if not self.running.rows or not self.running.batches_left(self._batches.n_train):
            self.trainer.should_stop = True

    def _stop_within(self, history: EpochHistory, first: int) -> NoReturn:
        """Leave the runs as they stand after the last of the epoch's steps that were taken."""
        running = self.running
        done = first + len(history.losses)
        # Where no step was taken, `running` says already where the runs stand.
        if done > first:
            running.batch, running.sums = done, epoch_means(running, "train", history, running.sums).sums
        self._count_steps()
        self.listener.stopped(running)

    def _count_steps(self) -> None:
        """Let the Trainer's `global_step` be the runs'."""
        steps = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        steps.total.completed = self.running.step

    def _tell_cut_short(self) -> None:
        """Tell who wants to know that the training ends in the middle of an epoch, at which batch."""
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        # The Trainer has seen one batch, which is the whole epoch; whoever looks here wants the batch of the runs.
        ready, progress.ready = progress.ready, self.running.batch
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "on_cut_short"):
                callback.on_cut_short(self.trainer)
        progress.ready = ready

    def _of_validation(self, row: int) -> dict[str, float]:
        val = {name: values[row] for name, values in self._means["val"].items()}
        measures = self._measures[row] if val and self._measures else {}
        return val | {f"val/{name}": value for name, value in measures.items()}

    def _measured(self, row: int, run: int) -> dict[str, float]:
        """What an epoch has measured of a run, in the order in which it would log that alone."""
        train = {name: values[row] for name, values in self._means["train"].items()}
        validated = self._validated.get(run, {})
        rate = {} if math.isnan(self._rates[row]) else {LR: self._rates[row]}
        return {**validated, **self._norms(row, run), **rate, **train}

    def _norms(self, row: int, run: int) -> dict[str, float]:
        """Norms of the run's gradient at the epoch's last step; that after clipping where the run has a limit."""
        if self._cut_short or not self._before:
            return {}  # the epoch's last step was not taken
        clips = self.running.members[run].job.trainer.get("gradient_clip_val") is not None
        return {GRAD_NORM: self._before[row]} | ({GRAD_NORM_CLIPPED: self._after[row]} if clips else {})

    def _recorded(self, row: int, run: int) -> dict[str, float]:
        """What the run's task records of its model, which is given the weights of the stack for it."""
        member = self.running.members[run]
        member.module.load_state_dict(self.running.stack.weights(row), strict=False)
        return member.job.presented(member.module).recorded()

    def _gather(self) -> None:
        """Put the samples of the runs that are left side by side."""
        running = self.running
        if not running.rows:
            return
        # The keys follow the rows: a run that has moved up in a smaller stack still draws what it draws alone.
        self._clock.keys = running.keys
        self._batches = StackBatches(running)
        if self.validates and running.steps.captured["val"].keeps:
            self._measuring = self._batches.measuring()
