"""Why a training of a job has to run as Lightning runs it, from what can be seen before its first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from shoal.step.unfit import BY_ITSELF, sentence

UPSTREAM = ("pytorch_lightning.", "lightning_fabric.", "lightning.pytorch.", "lightning.fabric.")
_LOGGERS = ("TensorBoardLogger", "CSVLogger", "ExperimentWriter")
_BY_BATCH = """
    on_train_batch_start on_train_batch_end on_validation_batch_start on_validation_batch_end on_before_zero_grad
    on_before_backward on_after_backward on_before_optimizer_step
"""
_OF_MODULE = f"""
    {_BY_BATCH} backward optimizer_zero_grad optimizer_step configure_gradient_clipping lr_scheduler_step
    transfer_batch_to_device on_before_batch_transfer on_after_batch_transfer
"""
_KNOWN = """
    ModelCheckpoint EarlyStopping TQDMProgressBar RichProgressBar ProgressBar LearningRateMonitor ModelSummary
    RichModelSummary Callback
"""
"""Callbacks of Lightning's whose hooks by batch do nothing in a stack's epoch, or are called for it."""
_AT_ENDS = "a hook at the ends of epochs stacks"


Reason = tuple[str, str]
"""What is done that no stack can follow, and what to write instead."""


def why_alone(trainer: Any) -> str | None:
    """Why this Trainer's `fit` has to run as it does, and what to write instead, or None."""
    return next((sentence(*each) for each in _reasons(trainer, trainer.lightning_module)), None)


def _reasons(trainer: Any, module: Any) -> Iterator[Reason]:
    yield from _of_trainer(trainer)
    yield from _of_callbacks(trainer)
    yield from _of_module(trainer, module)


def _of_trainer(trainer: Any) -> Iterator[Reason]:
    strategy = trainer.strategy
    # Classes go by their names: Lightning is two packages, and the program may use either.
    if trainer.world_size > 1 or type(strategy).__name__ != "SingleDeviceStrategy":
        yield f"it trains with {type(strategy).__name__}", "with accelerator=cpu, devices=1 it stacks"
    if strategy.root_device.type != "cpu":
        yield f"it trains on {strategy.root_device}", "with accelerator=cpu it stacks"
    if trainer.precision not in ("32-true", "64-true"):
        yield f"its precision is {trainer.precision}", "with 32-true or 64-true it stacks"
    settings = {
        "fast_dev_run": (trainer.fast_dev_run, 0),
        "overfit_batches": (trainer.overfit_batches, 0),
        "barebones": (trainer.barebones, False),
        "detect_anomaly": (trainer._detect_anomaly, False),
        "reload_dataloaders_every_n_epochs": (trainer.reload_dataloaders_every_n_epochs, 0),
        "val_check_interval": (trainer.val_check_interval, 1.0),
    }
    for name, (value, expected) in settings.items():
        # 1 is equal to 1.0, but asks for a validation after each batch, and 1.0 for one an epoch.
        if value != expected or (isinstance(value, int) and isinstance(expected, float)):
            yield f"trainer.{name} is {value}", "without it, it stacks"
    if trainer.check_val_every_n_epoch is None or getattr(trainer, "_val_check_time_interval", None) is not None:
        yield "its validation does not come at the end of an epoch", "with check_val_every_n_epoch it stacks"
    if type(trainer.profiler).__name__ != "PassThroughProfiler":
        yield "it has a profiler", "without it, it stacks"
    for each in trainer.loggers:
        if type(each).__name__ not in _LOGGERS or not type(each).__module__.startswith(UPSTREAM):
            does = f"it logs with {type(each).__name__}, of which there may be one at a time"
            yield does, "with a TensorBoardLogger or a CSVLogger it stacks"


def _of_callbacks(trainer: Any) -> Iterator[Reason]:
    for each in trainer.callbacks:
        # A stack takes all batches at once: nobody is called between two of them.
        for hook in _BY_BATCH.split():
            owner = next((cls for cls in type(each).__mro__ if hook in vars(cls)), type(each))
            if owner.__name__ not in _KNOWN.split() or not owner.__module__.startswith(UPSTREAM):
                yield f"{type(each).__name__} has its own {hook}", _AT_ENDS
        if type(each).__name__ == "GradientAccumulationScheduler":
            does = "GradientAccumulationScheduler changes the batches of a step"
            yield does, "with trainer.accumulate_grad_batches, the same in all epochs, it stacks"
        if getattr(each, "_every_n_train_steps", 0) or getattr(each, "_train_time_interval", None) is not None:
            yield f"{type(each).__name__} saves within an epoch", "with every_n_epochs it stacks"
        if type(each).__name__ == "LearningRateMonitor" and any(
            config.interval == "step" for config in trainer.lr_scheduler_configs
        ):
            yield "LearningRateMonitor looks at every step", "with a scheduler of `interval: epoch` it stacks"


def _of_module(trainer: Any, module: Any) -> Iterator[Reason]:
    name = type(module).__name__
    if not module.automatic_optimization:
        yield f"{name} optimizes by hand", BY_ITSELF
    if len(trainer.optimizers) != 1:
        does = f"{name} has {len(trainer.optimizers)} optimizers"
        yield does, "one optimizer with a group for each part stacks"
    for source in (module, trainer.datamodule):
        for hook in _OF_MODULE.split():
            owner = next((cls for cls in type(source).__mro__ if hook in vars(cls)), None)
            if owner is not None and not owner.__module__.startswith(UPSTREAM):
                yield f"{type(source).__name__} has its own {hook}", _AT_ENDS
    if trainer.model is not module:
        yield f"{name} is wrapped", "without what wraps it, as torch.compile, it stacks"
    # The matrix of a stack has one type; without any parameters there is no type at all.
    trained = [param for param in module.parameters() if param.requires_grad]
    if len({param.dtype for param in trained}) != 1 or not trained[0].is_floating_point():
        yield "its parameters are not all of one floating-point type", "in one type they stack"
    if any(isinstance(part, nn.LSTM) for part in module.modules()):
        yield "an LSTM gains nothing in a stack", "an nn.GRU does"
    if any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in module.modules()):
        yield f"a part of {name} has hooks", "what they do stacks in its forward"
    if any(config.interval == "step" and config.reduce_on_plateau for config in trainer.lr_scheduler_configs):
        yield "a scheduler watches a metric at every step", "with `interval: epoch` it stacks"
