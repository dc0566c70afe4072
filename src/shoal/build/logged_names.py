"""What a job will log, and the settings that name some of it: what is monitored, and what is expected."""

from __future__ import annotations

from dataclasses import replace

from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import Callback

from shoal import models, schedulers
from shoal.build.directions import refuse_undirected
from shoal.build.expectations import expectations, refuse_unknown
from shoal.build.length_check import whole_length
from shoal.build.lightning_module import logs
from shoal.engines.job import Job
from shoal.errors import ConfigError, suggestion
from shoal.judging import AUTO, judge, part_of, required
from shoal.names import DERIVATIVE, TRAIN_LOSS, VAL_LOSS, error_name
from shoal.record import Checkpoint, EarlyStopping
from shoal.record.callbacks import logged
from shoal.record.derivative import has_derivative


def monitored(job: Job) -> Job:
    """The job, `auto` pointed at the metric that a run is judged by, in its callbacks and its scheduler.

    Raises:
        ConfigError: where a metric is never logged, or nobody can know which way it is better.
    """
    names = metrics(job)
    if names is None:  # known after the first epoch, which tells
        return job
    for name, callback in job.callbacks.items():
        _check_callback(f"callbacks.{name}", callback, names, job)
    job = _watching(job, names)
    watched = getattr(job.scheduler, "monitor", None)
    if isinstance(watched, str):
        _check_monitor("scheduler.monitor", watched, names, job)
        refuse_undirected(job.config["scheduler"], "scheduler")
    return job


def _watching(job: Job, names: set[str]) -> Job:
    """The job; its scheduler watches what judges the run, where it is to watch `auto`."""
    scheduler = job.scheduler
    if not isinstance(scheduler, schedulers.Plateau | schedulers.TorchScheduler) or scheduler.monitor != AUTO:
        return job
    return replace(job, scheduler=scheduler.watching(required("scheduler.monitor", names)))


def _check_callback(key: str, callback: Callback, names: set[str], job: Job) -> None:
    if isinstance(callback, Checkpoint) and callback.monitor == AUTO:
        # Left at `auto` where nothing is known: the first epoch tells.
        callback.monitor = judge(names) or AUTO
    elif isinstance(callback, EarlyStopping):
        callback.choose(names)
    monitor = getattr(callback, "monitor", None)
    if isinstance(monitor, str) and monitor != AUTO:
        _check_monitor(f"{key}.monitor", monitor, names, job)
        refuse_undirected(job.config["callbacks"].get(key.rpartition(".")[2]), key)
    if isinstance(callback, lightning.EarlyStopping):
        _check_moment(key, callback, job, of_training=monitor in _of_training(job, names))


def _check_moment(key: str, stopping: lightning.EarlyStopping, job: Job, *, of_training: bool) -> None:
    """Let early stopping look when its metric is measured; refuse that it looks between two validations."""
    every = job.trainer.get("check_val_every_n_epoch") or 1
    if of_training:
        stopping._check_on_train_epoch_end = True  # not after a validation, which has the epoch's before
    elif stopping._check_on_train_epoch_end and every > 1:
        problem = f"looks after each epoch, and {stopping.monitor} is measured in one of {every}"
        hint = "null looks after each validation"
        raise ConfigError(f"{key}.check_on_train_epoch_end", True, problem, hint=hint)


def _of_training(job: Job, names: set[str]) -> set[str]:
    """Names of what is logged as an epoch ends, whether it is validated or not."""
    ours = logged(job.callbacks.values(), clips=True)
    return ours | {name for name in names if part_of(name) == "train"}


def _check_monitor(key: str, monitor: str, names: set[str], job: Job) -> None:
    if monitor in names:
        return
    if monitor == VAL_LOSS and not job.validates:
        raise ConfigError(key, monitor, "is never logged: there are no validation samples", hint=f"use {TRAIN_LOSS}")
    raise ConfigError(key, monitor, "is never logged", hint=suggestion(monitor, names, kind="logged are"))


def check_expected(job: Job) -> None:
    """Refuse expectations of what is never logged, or of a step that is never reached."""
    wanted = expectations(job.config.get("expect"))
    if wanted:
        at_the_end = {DERIVATIVE} if has_derivative(job.task) else set()
        if isinstance(job.model, models.Formula):
            # Standard errors come with the fit, once it has ended.
            at_the_end |= set(map(error_name, job.presented(job.module()).recorded()))
        last = whole_length(job).steps if any(each.step for each in wanted) else None
        names = metrics(job)
        if names is not None:
            refuse_unknown(wanted, names | at_the_end, last)


def metrics(job: Job) -> set[str] | None:
    """Names of all that a run of this job logs; None where only its training can tell."""
    ours = logged(job.callbacks.values(), clips=job.trainer.get("gradient_clip_val") is not None)
    if job.own_module:
        names = logs(job)
        return None if names is None else names | ours
    # By what `Supervised` logs: no step is run to find out.
    names = {TRAIN_LOSS}
    if job.records:
        shown = job.presented(job.module())
        names |= shown.recorded().keys()
    if job.validates:
        names |= {VAL_LOSS, *(f"val/{name}" for name in job.task.metric_names)}
    if job.trainer.get("log_every_n_steps") is not None:
        names.add(f"{TRAIN_LOSS}_step")
    return names | ours
