"""What a configuration may say beside a LightningModule of the user's own, and what such a module logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden

from shoal import losses, models, optimizers, schedulers
from shoal.app.nodes import TARGET
from shoal.engines.job import Job
from shoal.engines.vectorized.captured import CapturedStep
from shoal.engines.vectorized.mapped import Clock
from shoal.errors import ConfigError
from shoal.record import Checkpoint
from shoal.seeding import Stream, global_generator
from shoal.tasks import Batches, LightningTask


def agreed(job: Job) -> Job:
    """The job, its groups in agreement with its task.

    The optimizer of a module with `configure_optimizers` is the one it makes, where shoal knows that one.

    Raises:
        ConfigError: where a group has no effect, or one is missing.
    """
    examples = {"model": "mlp", "loss": "mse", "optimizer": "adam"}
    owned = {"model": isinstance(job.model, models.Own), "loss": isinstance(job.loss, losses.Own)}
    owned["optimizer"] = isinstance(job.optimizer, optimizers.Own)
    if not isinstance(job.task, LightningTask):
        for key, own in owned.items():
            if own:
                hint = f"for example {key}={examples[key]}"
                raise _wrong(job, key, "is for a task with a LightningModule of its own", hint)
        return job
    module = job.module()
    name = type(module).__name__
    for key in ("model", "loss"):
        if not owned[key]:
            raise _wrong(job, key, f"has no effect: {name} is the model and computes its loss", f"choose {key}=own")
    optimizes = job.task.optimizes
    unheard = f"has no effect: {name} has its own configure_optimizers"
    if optimizes and not owned["optimizer"]:
        raise _wrong(job, "optimizer", unheard, "choose optimizer=own")
    if not optimizes and owned["optimizer"]:
        raise _wrong(job, "optimizer", f"{name} has no configure_optimizers", "for example optimizer=adam")
    if optimizes and not isinstance(job.scheduler, schedulers.Constant):
        raise _wrong(job, "scheduler", unheard, "choose scheduler=none")
    _check_saving(job)
    _check_data(job.task, module)
    return replace(job, optimizer=_made(module) or job.optimizer) if optimizes else job


def logs(job: Job) -> set[str] | None:
    """Names of what the steps of a module of the user's own log; None where only its training can tell."""
    if not job.in_memory:
        return None
    train, val = job.batches()
    names: set[str] = set()
    with global_generator(job.seed, Stream.USER):
        try:
            names |= _logged(job, train, "train")
            if val is not None and job.task.validates:
                names |= _logged(job, val, "val")
        except Exception:  # it needs a Trainer, or fails in a way that its training will show
            return None
    return names


def _logged(job: Job, batches: Batches, stage: str) -> set[str]:
    module = job.module()
    x, y = batches.samples.x[: batches.batch_size], batches.samples.y[: batches.batch_size]
    step = CapturedStep(module, stage)  # type: ignore[arg-type]
    step(dict(module.named_parameters()), dict(module.named_buffers()), (x, y), Clock())
    return set(step.entries)


def _made(module: pl.LightningModule) -> optimizers.Optimizer | None:
    """The optimizer that the module makes, where it needs no Trainer for it, is alone, and shoal has the same."""
    try:
        made: Any = module.configure_optimizers()
    except Exception:  # it asks its Trainer; then only its own training knows
        return None
    found: Any = made.get("optimizer") if isinstance(made, dict) and "lr_scheduler" not in made else made
    if isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    trained = [each for each in module.parameters() if each.requires_grad]
    if not hasattr(found, "param_groups") or len(found.param_groups[0]["params"]) != len(trained):
        return None
    return optimizers.alike(found)


def _check_data(task: LightningTask, module: pl.LightningModule) -> None:
    if task.samples:
        return
    source = task.drawn_datamodule() or module
    if not is_overridden("train_dataloader", source):
        given = None if task.datamodule is None else type(source).__name__
        problem = f"{type(source).__name__} has no train_dataloader"
        raise ConfigError("task.datamodule", given, problem, hint="name a LightningDataModule, or task.samples")


def _check_saving(job: Job) -> None:
    for name, callback in job.callbacks.items():
        if isinstance(callback, Checkpoint) and callback.every_n_train_steps:
            raise ConfigError(
                f"callbacks.{name}.every_n_train_steps",
                callback.every_n_train_steps,
                "cannot be: a LightningModule of your own is saved between epochs only",
                hint="what self.log adds up over an epoch is in none of Lightning's checkpoints",
            )


def _wrong(job: Job, key: str, problem: str, hint: str) -> ConfigError:
    return ConfigError(f"{key}.{TARGET}", job.config[key][TARGET], problem, hint=hint)
