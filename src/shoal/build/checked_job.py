"""From a resolved configuration to a job: everything in it is checked before anything trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from shoal import instructions, models, optimizers, schedulers
from shoal.build.annotations import NotAllowedError, choices, coerced, in_words
from shoal.build.callbacks_check import check_callbacks
from shoal.build.constructors import build, called, checked, target
from shoal.build.directions import directed
from shoal.build.formula_check import check_formula, fitted
from shoal.build.hydra_keys import PARTIAL, TARGET
from shoal.build.length_check import check_length
from shoal.build.lightning_module import agreed
from shoal.build.logged_names import check_expected, monitored
from shoal.build.named_constructor import Constructor, constructor
from shoal.build.samples_check import check_samples
from shoal.build.schedule_check import check_schedule
from shoal.build.shape_check import check_fit
from shoal.build.solver_check import check_solving, whole
from shoal.build.trainer import arguments
from shoal.engines import portable
from shoal.engines.job import Job
from shoal.errors import NO_SUCH_SETTING, ConfigError, suggestion
from shoal.instructions import NATIVE, PORTABLE
from shoal.judging import AUTO
from shoal.record.loggers.trackers import made
from shoal.seeding import MAX_SEED
from shoal.tasks import Task

SETTINGS: Mapping[str, Any] = {
    "seed": Annotated[int, Interval(ge=0, le=MAX_SEED)],
    "engine": Literal["auto", "lightning", "vectorized"],
    "threads": Annotated[int, Interval(ge=1, le=1024)],
    "numerics": Literal["native", "portable"],
    "tags": list[str | int | float] | str,
    "note": str | int | float | None,
    "debug": bool,
    "outputs": str,
    "resume": str | None,
}
"""What stands at the top of a configuration beside the nodes."""
EXAMPLES = {
    "seed": "0",
    "threads": "1",
    "numerics": "native",
    "tags": "[paper]",
    "note": "word",
    "debug": "true",
    "outputs": "outputs",
    "resume": "null",
}
NODES = ("task", "model", "optimizer", "scheduler", "loss", "trainer", "callbacks", "logger")


def job(config: Mapping[str, Any]) -> Job:
    """The job that a resolved configuration describes.

    Raises:
        ConfigError: where something in it is wrong.
    """
    # A configuration from Python, or of an earlier version, may lack these.
    config = {"callbacks": {}, "logger": {}, **config}
    chosen = settings(config)
    built = _built_job(config, chosen, arguments(_node(config["trainer"], "trainer")))
    built = agreed(
        replace(
            built,
            callbacks=_named(config["callbacks"], "callbacks", Callback),
            loggers=_loggers(config["logger"]),
        )
    )
    # From the cheap checks to those that need the samples, and last those that compute.
    check_callbacks(built)
    _check_loggers(built)
    built = monitored(built)
    check_length(built)
    check_samples(built)
    if not built.own_module:
        check_fit(built)
    check_schedule(built)
    check_formula(built)
    check_solving(built)
    check_expected(built)
    return built


def trained_job(config: Mapping[str, Any], encoding: Mapping[str, Any]) -> Job:
    """What a trained model needs to predict: for a table its encoding instead of its file, and no device but this one.

    Raises:
        ConfigError: where something in it is wrong.
    """
    built = _built_job(config, settings(config), {"precision": config["trainer"].get("precision")})
    restored = built.task.restored(encoding)
    return job(config) if restored is built.task else replace(built, task=restored)


def _built_job(config: Mapping[str, Any], chosen: Mapping[str, Any], trainer: Mapping[str, Any]) -> Job:
    """The job without its callbacks and loggers; its samples have not been looked at."""
    if chosen["numerics"] == PORTABLE:
        _refuse_accelerator(trainer)
        # Before anything is computed.
        if instructions.portable():
            portable.install()
    model, optimizer = _model(config["model"]), _optimizer(config["optimizer"])
    return Job(
        # The model first: a formula has its task in its own units, and solvers want all samples.
        task=whole(_fitted(task(config["task"]), model), optimizer),
        model=model,
        loss=_loss(config["loss"]),
        optimizer=optimizer,
        scheduler=_scheduler(directed(config["scheduler"], "scheduler")),
        trainer=trainer,
        callbacks={},
        loggers={},
        seed=chosen["seed"],
        engine=chosen["engine"],
        threads=chosen["threads"],
        numerics=chosen["numerics"],
        config=config,
    )


def _fitted(task: Task, model: models.Model) -> Task:
    try:
        return fitted(task, model)
    except ConfigError as error:
        raise error.at(key=error.key if "." in error.key else f"task.{error.key}") from None


def _refuse_accelerator(trainer: Mapping[str, Any]) -> None:
    """Refuse to train portably on what may not be a CPU."""
    chosen = trainer.get("accelerator", "cpu")
    if chosen != "cpu":
        problem = "has bits of its own, and numerics=portable is for CPUs"
        raise ConfigError("trainer.accelerator", chosen, problem, hint="trainer.accelerator=cpu, or numerics=native")


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings at the top of a configuration, checked; the nodes beside them are there.

    Raises:
        ConfigError: where one is wrong, unknown or missing.
    """
    for key, value in config.items():
        if key not in (*SETTINGS, *NODES, "expect", "check"):
            raise ConfigError(
                str(key), value, "no such setting or group", hint=suggestion(str(key), (*SETTINGS, *NODES))
            )
    for key in NODES:
        if key not in config:
            raise ConfigError(key, None, "must be given", hint=f"choose one of its group: {key}=NAME")
    values = {}
    config = {"numerics": NATIVE, "tags": [], **config}  # that of a run from before there was a choice
    for key, annotation in SETTINGS.items():
        try:
            values[key] = coerced(config.get(key), annotation)
        except NotAllowedError:
            words = choices(annotation)
            hint = suggestion(str(config.get(key)), words) if words else f"for example {key}={EXAMPLES[key]}"
            raise ConfigError(key, config.get(key), f"must be {in_words(annotation)}", hint=hint) from None
    return values


def task(node: Any) -> Task:
    """The task that a node describes; its samples have not been looked at.

    Raises:
        ConfigError: where something in it is wrong.
    """
    found: Task = _built(node, "task", Task, "a task")
    return found


def _built(node: Any, key: str, kind: type | tuple[type, ...], noun: str) -> Any:
    made = target(_node(node, key), key)
    # Before it is built, where it is a class: its settings are then not complained of.
    if isinstance(made.call, type) and not issubclass(made.call, kind):
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], f"is not {noun}")
    built = build(node, key)
    if not isinstance(built, kind):
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], f"is not {noun}")
    return built


def _node(node: Any, key: str) -> Mapping[str, Any]:
    """The node, seen to be one.

    Raises:
        ConfigError: where it is something else, or a name in it is no text.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(key, node, "must be a node with a _target_", hint=f"choose one of its group: {key}=NAME")
    for name, value in node.items():
        if not isinstance(name, str):
            raise ConfigError(f"{key}.{name}", value, NO_SUCH_SETTING, hint="the name of a setting is a text")
    return node


def _model(node: Any) -> models.Model:
    made = target(_node(node, "model"), "model")
    if isinstance(made.call, type) and issubclass(made.call, nn.Module):
        cls, settings = called(node, "model", made.without("inputs", "outputs"))
        return models.TorchModel(cls=cls, settings=settings)
    model: models.Model = _built(node, "model", models.Model, "a model: an nn.Module, or a shoal.models.Model")
    return model


def _loss(node: Any) -> Any:
    made = target(_node(node, "loss"), "loss")
    # A function with arguments that the file does not give, as torch's losses: it is the loss, and is not to be called.
    itself = not isinstance(made.call, type) and not set(made.required) <= node.keys()
    loss = build({**node, PARTIAL: True} if itself else node, "loss")
    if not callable(loss):
        raise ConfigError(f"loss.{TARGET}", node[TARGET], "does not give a callable of (prediction, target)")
    return loss


def _optimizer(node: Any, key: str = "optimizer") -> optimizers.Optimizer:
    made = target(_node(node, key), key)
    if isinstance(made.call, type) and issubclass(made.call, torch.optim.Optimizer):
        settings = checked(node, key, made.without("params"))
        return optimizers.TorchOptimizer(cls=made.call, settings=settings)
    if made.call is optimizers.Parts:
        return _parts(node, key, made)
    optimizer: optimizers.Optimizer = _built(node, key, optimizers.Optimizer, "an optimizer")
    return optimizer


def _parts(node: Mapping[str, Any], key: str, made: Constructor) -> optimizers.Parts:
    # For its complaints alone: parts are built below, each with a key of its own.
    checked({**node, "parts": {}}, key, made)
    found, part = {}, constructor(f"{optimizers.__name__}.{optimizers.Part.__name__}")
    for name, each in _node(node.get("parts"), f"{key}.parts").items():
        place = f"{key}.parts.{name}"
        own = {word: value for word, value in _node(each, place).items() if word != "optimizer"}
        settings = checked(own, place, part.without("optimizer"))
        found[name] = optimizers.Part(optimizer=_optimizer(each.get("optimizer"), f"{place}.optimizer"), **settings)
    return optimizers.Parts(parts=found)


def _scheduler(node: Any, key: str = "scheduler") -> schedulers.Scheduler:
    made = target(_node(node, key), key)
    if not (isinstance(made.call, type) and issubclass(made.call, LRScheduler)):
        scheduler: schedulers.Scheduler = _built(node, key, schedulers.Scheduler, "a scheduler")
        return scheduler
    watches = issubclass(made.call, ReduceLROnPlateau)
    monitor = str(node.get("monitor", AUTO)) if watches else None
    # Lightning takes the metric to watch, and not torch's scheduler.
    own = {name: value for name, value in node.items() if not (watches and name == "monitor")}
    inner = {name: _inner(value, f"{key}.{name}") for name, value in own.items() if _is_inner(value, made, name)}
    rest = {name: value for name, value in own.items() if name not in inner}
    settings = checked(rest, key, made.without("optimizer", *inner))
    return schedulers.TorchScheduler(cls=made.call, settings={**settings, **inner}, monitor=monitor)


def _is_inner(value: Any, made: Constructor, name: str) -> bool:
    """Whether a setting is a list of schedulers that act on the optimizer of the one they are in."""
    return name in made.parameters and isinstance(value, list) and any(isinstance(each, Mapping) for each in value)


def _inner(nodes: Sequence[Any], key: str) -> list[schedulers.TorchScheduler]:
    found = []
    for i, node in enumerate(nodes):
        each = _scheduler(node, f"{key}[{i}]")
        if not isinstance(each, schedulers.TorchScheduler) or each.monitor:
            problem = "must be a scheduler of torch that watches no metric"
            raise ConfigError(f"{key}[{i}].{TARGET}", node[TARGET], problem)
        found.append(each)
    return found


def _named(nodes: Any, key: str, kind: type) -> dict[str, Any]:
    """The objects of a group that is a dictionary of nodes; one set to null is left out."""
    given = {name: node for name, node in (nodes or {}).items() if node is not None}
    wanted = {name: directed(node, f"{key}.{name}") for name, node in given.items()}
    return {name: _built(node, f"{key}.{name}", kind, f"a Lightning {kind.__name__}") for name, node in wanted.items()}


def _loggers(nodes: Any) -> dict[str, Logger]:
    """The loggers; for one whose server does not answer, what stands for it."""

    def made_of(name: str, node: Any) -> Logger:
        return made(target(node, f"logger.{name}").call, lambda: _named({name: node}, "logger", Logger)[name])

    return {name: made_of(name, node) for name, node in (nodes or {}).items() if node is not None}


def _check_loggers(job: Job) -> None:
    """Refuse two loggers of Weights & Biases, the second of which would write into the run of the first."""
    found = [name for name, logger in job.loggers.items() if isinstance(logger, WandbLogger)]
    if len(found) > 1:
        problem = f"would write into the W&B run of logger.{found[0]}: a process has one at a time"
        raise ConfigError(f"logger.{found[1]}", "{...}", problem, hint=f"leave one of them out: logger.{found[1]}=null")
