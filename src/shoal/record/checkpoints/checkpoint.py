"""Checkpoints: which states of a training are kept, and when."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytorch_lightning as pl
from annotated_types import Ge
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from shoal.engines.job import Job
from shoal.engines.modes import with_modes
from shoal.engines.position import Position
from shoal.errors import ConfigError, suggestion
from shoal.judging import AUTO, Direction, Mode, better, judge, part_of, way_of
from shoal.record.checkpoints.checkpoint_file import EXTRA
from shoal.record.checkpoints.generator_states import generator_states, restore_generators
from shoal.record.checkpoints.kept_states import KeptStates
from shoal.record.checkpoints.packed import missing, packed
from shoal.record.checkpoints.readable import readable, tell_of_objects
from shoal.record.checkpoints.weights import cloned, equal, finite, show
from shoal.rundir import Best, RunDir
from shoal.tasks.announce import announce

log = logging.getLogger("shoal")


class Checkpoint(pl.callbacks.Checkpoint):
    """Keeps the last and the best state of a run.

    A state is only ever taken between two steps, when all that the last one leads to (validation, schedulers, other
    callbacks, metrics) is done; resuming from it therefore repeats nothing and leaves nothing out. The best state waits
    in memory, and both are written every `every_seconds`, at the end and when the run is interrupted.
    """

    def __init__(
        self,
        *,
        monitor: str | None = AUTO,
        mode: Mode = "auto",
        every_n_train_steps: Annotated[int, Ge(1)] | None = None,
        every_seconds: Annotated[float, Ge(0)] = 10.0,
    ) -> None:
        self.monitor = monitor
        self.mode = mode
        """Which way the metric is better; `auto`: as its name says."""
        self.every_n_train_steps = every_n_train_steps
        self.every_seconds = every_seconds
        self.whole_epochs = False
        """Whether only states between epochs can be gone on from; what is saved within one is then its beginning."""
        self.best: Best | None = None
        self._judged: Tensor | None = None
        self._known: dict[str, Tensor] = {}
        self._beginning: dict[str, Any] | None = None
        self._improved = False
        self._looked = False
        self._missing = set[str]()
        self._told = False
        self._rng: dict[str, Any] | None = None
        self._cut_short: dict[str, Any] | None = None
        self._final: dict[str, Any] | None = None
        self._scored: dict[str, Any] | None = None
        """The averaged weights that the best value was measured with."""
        self._validated_weights: dict[str, Any] | None = None
        """Those of the last validation."""
        self.measure: Callable[[Mapping[str, Any]], Mapping[str, float]] | None = None
        """Gives the metrics of other weights than the module has."""

    def attach(
        self,
        run: RunDir,
        extra: Callable[[], Mapping[str, Any]],
        sync: Callable[[], None],
        beginning: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Where to write, and what the recorder wants kept with each state.

        `extra` brings the recorder's files up to date, `sync` makes them last; `beginning` says what they held before
        the first row.
        """
        self.extra = extra
        self.states = KeptStates(run, sync=sync, beside_first=lambda: {**extra(), "files": dict(beginning())})

    @property
    def way(self) -> Direction:
        """Which way the monitored metric is better."""
        return way_of(self.mode, self.monitor)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the metrics that are there before a validation: the value of a single step is not to be judged."""
        self._known = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge a validation within an epoch: is the monitored metric the best so far?"""
        if trainer.sanity_checking:
            return
        averaging = any(isinstance(each, WeightAveraging) for each in trainer.callbacks)  # type: ignore[attr-defined]
        # Averages, and the weights of an optimizer's evaluation mode, are in the module for the validation only.
        if averaging or with_modes(trainer):
            self._validated_weights = cloned(self._bare_state(trainer, Position())["state_dict"])
        # Within an epoch the training's loss is one of a single step: `auto` waits for one of the validation.
        if self.monitor == AUTO and part_of(found := judge(trainer.callback_metrics) or "") == "val":
            self.monitor = found
        measured = trainer.callback_metrics.get(self.monitor or "")
        if measured is not None and measured is not self._known.get(self.monitor or ""):
            self._judge(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the epoch: is the monitored metric the best so far?

        Raises:
            ConfigError: where the monitored metric was never logged.
        """
        if self._cut_short is not None or self.monitor is None:
            return  # a longer training would not measure here
        if self.monitor == AUTO and self._validated(trainer):
            self.monitor = self._found(trainer)
        if self.monitor in trainer.callback_metrics:
            self._judge(trainer)
        elif self._validated(trainer) and self.monitor != AUTO:
            raise self._unlogged(trainer)

    def _judge(self, trainer: pl.Trainer) -> None:
        """Take note of the monitored metric, unless it was judged when it was measured."""
        assert self.monitor is not None
        measured = trainer.callback_metrics[self.monitor]
        # The very same tensor: after an epoch without a validation that of the last one is still there.
        if measured is self._judged:
            return
        self._judged = measured
        value = float(measured)
        if self.best is not None and (self.best.metric, self.best.mode) != (self.monitor, self.way):
            self.best = None  # of another metric, until the run was resumed
        if better(value, self.best.value if self.best else None, self.way):
            self.best = Best(self.monitor, self.way, value, trainer.current_epoch, trainer.global_step)
            self._improved = True
            self._scored = self._validated_weights

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Between two steps: take the states that are due."""
        if self._rng is not None:
            if batch_idx:  # an epoch that begins has seeded them already
                restore_generators(self._rng)
            self._rng = None
        # All there is to go on from where a run fails before its first save; cloned, since steps change it in place.
        if self.states.step < 0 and trainer.global_step == 0 and batch_idx == 0:
            self.states.first = cloned(self._bare_state(trainer, Position()))
        # Kept at every epoch's beginning: once the epoch is under way, this state cannot be had any more.
        if self.whole_epochs and batch_idx == 0:
            self._beginning = cloned(self._state(trainer, Position(trainer.current_epoch, 0, trainer.global_step)))
        if self._improved:
            self._remember(trainer, batch_idx)
        if self._due(trainer, batch_idx):
            self.save(trainer, Position(trainer.current_epoch, batch_idx, trainer.global_step))

    def on_cut_short(self, trainer: pl.Trainer) -> None:
        """Take the state of a training that ends in the middle of an epoch, as a longer one would go on from."""
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if self._improved:
            self._remember(trainer, batch)
        position = Position(trainer.current_epoch, batch, trainer.global_step)
        self._cut_short = cloned(self._state(trainer, position))

    def settle(self, trainer: pl.Trainer) -> None:
        """Take the final state, as a longer training would go on from: before callbacks put averaged weights in it."""
        if self._rng is not None:  # a training that was over already
            restore_generators(self._rng)
            self._rng = None
        if self._improved:
            self._remember(trainer, 0)
        position = Position(trainer.current_epoch, 0, trainer.global_step)
        state, self._cut_short = self._cut_short or cloned(self._state(trainer, position)), None
        self._final = state

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final state; weights that a callback has put in the place of those it holds are measured first."""
        if self._final is None:
            self.settle(trainer)
        state, self._final = self._final, None
        assert state is not None
        # WeightAveraging has put its average into the module by now: its turn comes before that of a checkpoint.
        others = show(state, cloned(pl_module.state_dict()))
        measured = self._validated_weights
        others |= measured is not None and not equal(measured, state["state_dict"])
        if others and self.measure is not None:
            announce(trainer, self.measure(state["state_dict"]))
            if self.monitor in trainer.callback_metrics:
                self._judge(trainer)
            if self._improved:
                self.states.best, self._improved = state, False
                # It was taken before this was judged, and would know of the best before only.
                state["callbacks"][self.state_key] = self.state_dict()
        # Asked for again: what was measured here may have added a row.
        state[EXTRA]["over"] = dict(self.extra()["files"])
        self.states.write(trainer, state)

    def save(self, trainer: pl.Trainer, position: Position) -> None:
        """Write the last state, and the best one where it is new; a state that is not finite is not worth the old."""
        if self._improved:
            self._remember(trainer, position.batch)
        within = self.whole_epochs and position.batch > 0
        state = self._beginning if within and self._beginning else self._state(trainer, position)
        if finite(state["state_dict"]):
            self.states.write(trainer, state)

    def state_dict(self) -> dict[str, Any]:
        return {"best": vars(self.best) if self.best else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = Best(**state_dict["best"]) if state_dict["best"] else None
        self._improved = self.best is not None and self.best.step == self.states.step  # it may not have been written

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the generators' states until the first step, and the averaged weights until there are better ones."""
        self._rng = checkpoint[EXTRA]["generators"]
        self.states.step = checkpoint["global_step"]
        # WeightAveraging keeps the average as `state_dict`, and under this key what the training goes on from.
        if "current_model_state" in checkpoint:
            self._scored = cloned(dict(checkpoint["state_dict"]))

    def _due(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        # No state in the midst of a step, since gradients are in no checkpoint; and none twice.
        if batch_idx % trainer.accumulate_grad_batches or trainer.global_step == self.states.step:
            return False
        n = self.every_n_train_steps
        if n and trainer.global_step and trainer.global_step % n == 0:
            return True
        return (
            batch_idx == 0
            and trainer.global_step > 0
            and time.monotonic() - self.states.written_at >= self.every_seconds
        )

    def _remember(self, trainer: pl.Trainer, batch_idx: int) -> None:
        position = Position(trainer.current_epoch, batch_idx, trainer.global_step)
        best = cloned(self._state(trainer, position))
        if self._scored is not None:
            show(best, self._scored)
        self.states.best, self._improved = best, False

    def _state(self, trainer: pl.Trainer, position: Position) -> dict[str, Any]:
        extra = self.extra()  # first: it closes the row that is being filled
        state = self._bare_state(trainer, position)
        state[EXTRA] |= extra
        return state

    def _bare_state(self, trainer: pl.Trainer, position: Position) -> dict[str, Any]:
        """A state without what the recorder wants kept with it."""
        # Not trainer.save_checkpoint, which writes a file at once: most states only wait in memory.
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if not self._looked:
            self._looked = True
            tell_of_objects(state)
        state = dict(packed(readable(state)))
        for kind in sorted({*missing(state)} - self._missing):
            log.info("no checkpoint can hold a %s: a run that is stopped goes on only where it is as it was made", kind)
            self._missing.add(kind)
        state[EXTRA] = {
            "position": [position.epoch, position.batch, position.step],
            "over": None,  # at the end of a training: how long the files are then
            "generators": generator_states(),
        }
        return state

    def _validated(self, trainer: pl.Trainer) -> bool:
        return not trainer.enable_validation or trainer.fit_loop.epoch_loop.val_loop._has_run

    def _found(self, trainer: pl.Trainer) -> str:
        """The metric to monitor, among what is logged; `auto` where none judges."""
        found = judge(trainer.callback_metrics)
        if found is None and not self._told:
            self._told = True
            names = ", ".join(sorted(trainer.callback_metrics))
            log.warning("no loss is logged to tell the best state by, so the last one is kept alone; "
                        "callbacks.checkpoint.monitor names another metric: %s", names)  # fmt: skip
        return found or AUTO

    def _unlogged(self, trainer: pl.Trainer) -> ConfigError:
        return ConfigError(
            "callbacks.checkpoint.monitor",
            self.monitor,
            "is never logged",
            hint=suggestion(str(self.monitor), trainer.callback_metrics, kind="logged are"),
        )


def checkpoint_of(job: Job) -> Checkpoint:
    """The job's callback that says which states to keep; one with its defaults where the job has none."""
    return next((each for each in job.callbacks.values() if isinstance(each, Checkpoint)), None) or Checkpoint()
