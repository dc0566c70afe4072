"""What a configuration may say beside a LightningModule of the user's own, and what such a module logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden

from shoal import losses, models, optimizers, schedulers
from shoal.build.directions import refuse_undirected
from shoal.build.hydra_keys import TARGET
from shoal.engines.job import Job
from shoal.engines.returned import added
from shoal.errors import ConfigError
from shoal.judging import AUTO
from shoal.record import Checkpoint, EarlyStopping, Watched
from shoal.seeding import Stream, global_generator
from shoal.step.logged import Stage, arguments, entries
from shoal.tasks import LightningTask


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
    optimizer = (_made(module) if optimizes else None) or job.optimizer
    return replace(job, optimizer=optimizer, callbacks=_watched(job, module))


def logs(job: Job) -> set[str] | None:
    """Names of what the steps of a module of the user's own log; None where only its training can tell.

    Each step is run once, on a throwaway copy. The data loaders of a DataModule are made for that only where somebody
    asks for a metric by its name.
    """
    module = job.module()
    # A hook may log what no step does; and data loaders are not made for nothing.
    if _hooks(module) or not (job.in_memory or _asked(job)):
        return None
    names: set[str] = set()
    try:
        with global_generator(job.seed, Stream.USER):
            train, val = _first_batches(job)
            names |= _logged(module.train(), "training_step", train)
            if val is not None and job.validates:
                names |= _logged(module.eval(), "validation_step", val)
    except (Exception, SystemExit):  # it needs a Trainer, or fails in a way that its training will show
        return None
    return names


def _watched(job: Job, module: pl.LightningModule) -> dict[str, Any]:
    """The callbacks; where only the training may tell what is logged, with one before them that sees to it."""
    if not _monitors(job) or (job.in_memory and not _hooks(module)):
        return dict(job.callbacks)
    nodes = {name: job.config["callbacks"].get(name) for name in _monitors(job)}
    return {
        "watched": Watched(_monitors(job), lambda name: refuse_undirected(nodes[name], f"callbacks.{name}")),
        **job.callbacks,
    }


def _monitors(job: Job) -> dict[str, Any]:
    """The callbacks that watch a metric which is named, by their names."""
    found = {name: callback for name, callback in job.callbacks.items() if hasattr(callback, "monitor")}
    return {name: callback for name, callback in found.items() if callback.monitor not in (None, AUTO)}


def _asked(job: Job) -> bool:
    """Whether a callback, a scheduler or an expectation has to know which metrics there are."""
    stops = any(isinstance(each, EarlyStopping) for each in job.callbacks.values())
    watches = getattr(job.scheduler, "monitor", None) is not None
    return bool(stops or watches or _monitors(job) or job.config.get("expect"))


def _hooks(module: pl.LightningModule) -> bool:
    """Whether the module overrides hooks, which may log metrics that no step logs."""
    names = [name for name in dir(pl.LightningModule) if name.startswith("on_") and callable(getattr(module, name))]
    return any(is_overridden(name, module) for name in (*names, "setup", "configure_model"))


def _first_batches(job: Job) -> tuple[Any, Any]:
    if isinstance(job.task, LightningTask) and not job.in_memory:
        return job.task.first_batches()
    train, val = (each and each.samples.first(each.batch_size) for each in job.batches())
    return train, val


def _logged(module: Any, step: str, batch: Any) -> set[str]:
    """Names of what a step logs, those included that Lightning adds where a value is logged by step and by epoch."""
    names: set[str] = set()
    stage: Stage = "train" if step == "training_step" else "val"

    def log(name: str, value: Any, *args: Any, **settings: Any) -> None:
        names.update(entries(stage, arguments(module, name, value, *args, **settings)))

    # In place of Lightning's, which needs a Trainer.
    module.log = log
    given = getattr(module, step)(batch, 0)
    return names | added(stage, given, names)


def _made(module: pl.LightningModule) -> optimizers.Optimizer | None:
    """The settings of the module's one optimizer; None where making it needs a Trainer, or shoal has no such rule."""
    try:
        made: Any = module.configure_optimizers()
    except (Exception, SystemExit):  # it asks its Trainer; then only its own training knows
        return None
    # With a scheduler it is left to its own training: a stack would have to know that one too.
    found: Any = made.get("optimizer") if isinstance(made, dict) and "lr_scheduler" not in made else made
    if isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    # A parameter that the optimizer leaves out stays as it is, which no rule of a stack knows.
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
