"""A run of a stack, and which settings of the Trainer a stack can follow."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from shoal.engines.hook_names import called
from shoal.engines.job import Job
from shoal.engines.length import horizon, n_batches
from shoal.engines.stack.rates import Rate, beyond_rate
from shoal.engines.stack.run_optimizer import RunOptimizer, UnfitError
from shoal.engines.vectorized.configured import own_optimizer
from shoal.engines.vectorized.hooks.run_trainer import RunTrainer
from shoal.engines.vectorized.signature import makes_layers, unfit_layers
from shoal.errors import shown
from shoal.judging import Direction, Mode, way_of
from shoal.schedulers import Horizon, TorchScheduler
from shoal.seeding import generators_restored, seed_global
from shoal.step.unfit import sentence
from shoal.tasks import LightningTask
from shoal.tasks.precision import new_tensors

_EXPECTED: dict[str, tuple[Any, ...]] = {
    "devices": (1, "1", "auto"),
    "strategy": ("auto",),
    "num_nodes": (1,),
    "precision": ("32-true", "64-true", "bf16-mixed", "bf16", 32, 64, None),
    "val_check_interval": (None, 1.0),
    "overfit_batches": (0, 0.0),
    "fast_dev_run": (False, 0, None),
    "detect_anomaly": (False,),
    "profiler": (None,),
    "log_every_n_steps": (None,),
    "max_time": (None,),
    "min_steps": (None, -1, 0),
    "reload_dataloaders_every_n_epochs": (None, 0),
    "plugins": (None, []),
}
"""Settings that a stack follows only with these values."""


class UnfitLayersError(UnfitError):
    """Layers that a stack cannot have; the message is the whole sentence that says why."""

    def __init__(self, why: str) -> None:
        Exception.__init__(self, why)


@dataclass
class Member:
    """One run of a stack."""

    job: Job
    module: pl.LightningModule
    early_stopping: EarlyStopping | None = None
    monitor: str | None = None
    """Metric whose best state is kept; none where null."""
    mode: Mode = "auto"

    @classmethod
    def of(cls, job: Job, *, monitor: str | None = None, mode: Mode = "auto") -> Member:
        """The run that a job describes, its weights drawn."""
        module = job.module_to_stack()
        stopping = next((each for each in job.callbacks.values() if isinstance(each, EarlyStopping)), None)
        return cls(job, module, stopping, monitor, mode).attached()

    def attached(self) -> Member:
        """This run, its module set up as Lightning does it before the module configures its optimizers.

        Raises:
            UnfitLayersError: where the layers that it then has cannot share a stack.
        """
        module, job = self.module, self.job
        module.trainer = self.trainer  # type: ignore[assignment]
        for each in self._called:
            # As Lightning does; not the module's own, of which logging_in puts another one in front for each hook.
            each.log, each.log_dict = self._log, self._log_dict  # type: ignore[attr-defined]
        if job.own_module and makes_layers(module):
            with generators_restored():
                # Layers that are made here are drawn from where Lightning's fit would have the generators.
                seed_global(job.seed)
                module.prepare_data()
                module.setup("fit")
                with new_tensors(double=job.double):  # as Lightning has it for this hook, and no other
                    module.configure_model()
            if job.double:
                # Layers that the other hooks have made are in single precision.
                module.double()
            if reason := unfit_layers(module):
                raise UnfitLayersError(reason)
        return self

    @cached_property
    def trainer(self) -> RunTrainer:
        """What the run sees of a Trainer."""
        return RunTrainer(self.job, self.module, horizon(self.job.trainer, n_batches(self.job.trainer, self._n)))

    @property
    def way(self) -> Direction:
        """Which way the monitored metric is better."""
        return way_of(self.mode, self.monitor)

    @property
    def gives_samples(self) -> bool:
        """Whether the module's own data loaders give the samples."""
        task = self.job.task
        return isinstance(task, LightningTask) and not self.job.in_memory and task.datamodule is None

    @property
    def _n(self) -> int:
        return len(self.job.sources()[0])

    def _log(self, *args: Any, **kwargs: Any) -> None:
        self.module.log(*args, **kwargs)

    def _log_dict(self, *args: Any, **kwargs: Any) -> None:
        self.module.log_dict(*args, **kwargs)

    def callback_states(self) -> dict[str, Any]:
        """What the callbacks that a stack calls keep in a checkpoint."""
        # A copy: what is put by with a best state must not change as the callback goes on.
        found = {each.state_key: copy.deepcopy(each.state_dict()) for each in self._called}
        return {key: state for key, state in found.items() if state}

    def load_callbacks(self, states: Mapping[str, Any]) -> None:
        """Let them go on from there."""
        for each in self._called:
            if each.state_key in states:
                # A callback may keep what it is given, and change it.
                each.load_state_dict(copy.deepcopy(states[each.state_key]))

    @cached_property  # which hooks do something is read from their code, too dear for every epoch
    def _called(self) -> list[pl.Callback]:
        return list(called(self.job.callbacks).values())

    def rate(self, horizon: Horizon) -> Rate | RunOptimizer:
        """Its learning rate; the optimizer object where there is no rule for it, or more of it changes with time.

        Raises:
            UnfitError: where a stack cannot be stepped by that.
        """
        optimizer, scheduler = self.job.optimizer, self.job.scheduler
        by_hand = not self.module.automatic_optimization
        if (
            by_hand
            or optimizer.stacked() is None
            or (isinstance(scheduler, TorchScheduler) and beyond_rate(optimizer, scheduler))
        ):
            self.trainer.rate = own_optimizer(self.job, self.module, horizon)
            self.trainer.rate.trainer = self.trainer
        else:
            self.trainer.rate = Rate(optimizer, scheduler, horizon)
        return self.trainer.rate

    def limits(self) -> tuple[float | None, float | None]:
        """The largest norm and the largest value of its gradient."""
        limit = self.job.trainer.get("gradient_clip_val") or None
        by_value = self.job.trainer.get("gradient_clip_algorithm") == "value"
        return (None, limit) if by_value else (limit, None)


def unsupported(trainer: Mapping[str, Any]) -> str | None:
    """Why a stack cannot follow the settings of a Trainer, for the first that it cannot; or None."""
    for name, allowed in _EXPECTED.items():
        if name in trainer and not any(_same(trainer[name], each) for each in allowed):
            known = [*dict.fromkeys(shown(each) for each in allowed if each is not None)][:3] or ["null"]
            given = f"trainer.{name}={shown(trainer[name])}"
            return sentence(f"a stack cannot follow {given}", f"with trainer.{name}={' or '.join(known)} it stacks")
    return None


def _same(value: Any, other: Any) -> bool:
    """Whether two settings mean the same: a whole number is a count where a fraction is a share."""
    return type(value) is type(other) and bool(value == other)
