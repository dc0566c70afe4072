"""An epoch that was trained in a stack, told to the job's own Lightning objects as if they had trained it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shoal.dropin.waiting import LightningFit, Passed, Trained
from shoal.step.logged import WEIGHT
from shoal.step.metered import BATCH, MARK, put


def weights(fit: LightningFit, trained: Trained) -> None:
    """Have module and optimizer be as they are after the epoch."""
    params: list[Any] = list(fit.own.weights)
    with torch.no_grad():
        # In place: the optimizer, and whoever else holds the parameters, has these very tensors.
        torch._foreach_copy_(params, trained.params)
    for param, grad in zip(params, trained.grads, strict=True):
        param.grad = grad
    own = fit.own.optimizer.state
    for param, state in zip(params, trained.state, strict=False):
        # SGD without momentum keeps nothing, and its checkpoints list no parameters then.
        if state or param in own:
            own[param] = state
    beside_none: Any = trained.state[len(params) :]
    own.update(*beside_none)
    buffers(fit, trained.train)
    fit.versions = fit.now()


def buffers(fit: LightningFit, passed: Passed) -> None:
    """Have the buffers of the module, and the states of its metrics, be what the steps left."""
    own = dict(fit.module.named_buffers())
    with torch.no_grad():
        for name, value in passed.buffers.items():
            if name.startswith(MARK):
                put(fit.module, name, value)
            elif name in own:
                own[name].copy_(value)
    for path, n in passed.updates.items():
        metric = fit.module.get_submodule(path)
        metric._update_count += n * len(passed.sizes)
        # A metric keeps what it last came to; its state is another one now.
        metric._computed = None


def training(loop: Any, fit: LightningFit, passed: Passed) -> None:
    """Let the loop over an epoch stand after its last batch, which has not been told to hooks yet."""
    n = len(passed.sizes)
    for tracker in (loop.batch_progress.total, loop.batch_progress.current):
        for stage in ("ready", "started", "processed"):
            setattr(tracker, stage, getattr(tracker, stage) + n)
    # "completed" comes last, as in Lightning: whoever is called before may look at the progress.
    loop.batch_progress.is_last_batch = True
    steps = fit.steps(n)
    for progress in vars(loop.automatic_optimization.optim_progress.optimizer).values():
        _count(progress, len(steps))
    by_step = sum((number + 1) % each.frequency == 0 for each in fit.own.scheduled for number in steps)
    _count(loop.scheduler_progress, by_step)
    # Those that watch a metric step after the validation, which is Lightning's own part of the loop.
    loop.update_lr_schedulers("epoch", update_plateau_schedulers=False)
    _steps(loop, fit, passed)
    for tracker in (loop.batch_progress.total, loop.batch_progress.current):
        tracker.completed += n


def _count(progress: Any, n: int) -> None:
    for tracker in (progress.total, progress.current):
        for stage in vars(tracker):
            setattr(tracker, stage, getattr(tracker, stage) + n)


def _steps(loop: Any, fit: LightningFit, passed: Passed) -> None:
    """Log what the steps logged, and let loggers and callbacks have what they would have had of it within the epoch."""
    trainer, n = loop.trainer, len(passed.sizes)
    connector, stepped, every = trainer._logger_connector, loop._batches_that_stepped, trainer.log_every_n_steps
    stepping = set(fit.steps(n))
    # Twice where there are several: then Lightning knows that it is past the first batch.
    connector.on_batch_start(None)
    _log(fit.module, "training_step", passed, 0)
    if n > 1:
        connector.on_batch_start(None)
    monitors = [each for each in trainer.callbacks if type(each).__name__ == "LearningRateMonitor"]
    logged = any(_by_step(call, "training_step") and call["logger"] is not False for call in passed.calls.values())
    for number in range(n):
        told = every and (stepped + 1) % every == 0
        if told and (logged or monitors):
            loop._batches_that_stepped = stepped
            for each in monitors:
                each.on_train_batch_start(trainer, fit.module, None, number)
        if number == n - 1:
            _caches(trainer, passed, "training_step", number)
            _totals(trainer, passed, "training_step")
            connector.on_batch_end()
        if told and logged and number in stepping:
            _caches(trainer, passed, "training_step", number)
            connector.update_train_step_metrics()
        stepped += number in stepping
    # Lightning adds the last one itself, once `advance` has returned.
    loop._batches_that_stepped = stepped - 1


def validation(loop: Any, fetcher: Any, fit: LightningFit, passed: Passed) -> None:
    """Let the loop over the validation stand after its last batch."""
    n, trainer = len(passed.sizes), loop.trainer
    _count(loop.batch_progress, n)
    loop.batch_progress.is_last_batch = True
    loop._has_run = True
    loop._seen_batches_per_dataloader[0] += n
    connector = trainer._logger_connector
    connector.on_batch_start(None)
    _log(fit.module, "validation_step", passed, 0)
    if n > 1:
        connector.on_batch_start(None)
    _totals(trainer, passed, "validation_step")
    connector.on_batch_end()
    exhaust(fetcher, n)


def exhaust(fetcher: Any, n: int) -> None:
    """Have all batches of a data fetcher be fetched."""
    fetcher.fetched, fetcher.done = n, True


def _log(module: Any, hook: str, passed: Passed, number: int) -> None:
    """Ask Lightning once for everything that the steps log."""
    module._current_fx_name = hook
    for name, settings in passed.calls.items():
        given = dict(settings)
        if given["batch_size"] is None:
            given["batch_size"] = passed.sizes[number]
        value: Any = passed.logged[name][number] if name in passed.logged else None
        if name in passed.metrics:
            value = module.get_submodule(passed.metrics[name])
            value._forward_cache = passed.logged.get(f"{BATCH}{passed.metrics[name]}", [None])[number]
        module.log(name, value, **given)
    module._current_fx_name = None


def _results(trainer: Any, passed: Passed, hook: str) -> Mapping[str, Any]:
    """What Lightning keeps of each name that was logged."""
    results = trainer._results
    return {name: results[f"{hook}.{name}"] for name in passed.calls}


def _caches(trainer: Any, passed: Passed, hook: str, number: int) -> None:
    """Have what is logged by step be that of a batch."""
    for name, result in _results(trainer, passed, hook).items():
        if result.meta.on_step:
            key = f"{BATCH}{passed.metrics[name]}" if name in passed.metrics else name
            result._forward_cache = _as(passed.logged[key][number], result)
            if result.is_tensor and not result.meta.on_epoch:
                result.value = result._forward_cache


def _totals(trainer: Any, passed: Passed, hook: str) -> None:
    """Have what is logged by epoch be that of all batches."""
    for name, result in _results(trainer, passed, hook).items():
        if not (result.is_tensor and result.meta.on_epoch):
            continue
        values, result._computed = _as(passed.logged[name], result), None
        if result.meta.is_mean_reduction:
            weights = passed.logged.get(f"{name}{WEIGHT}", torch.tensor(passed.sizes)).to(torch.int64)
            # Cumsum adds one after the other, as Lightning does; `sum` adds in another order, and to other bits.
            result.value = (values * weights).cumsum(0)[-1]
            result.cumulated_batch_size = weights.sum()
        elif result.meta.is_sum_reduction:
            result.value = values.cumsum(0)[-1]
        else:
            result.value = values.amax() if result.meta.is_max_reduction else values.amin()


def _as(values: Tensor, result: Any) -> Tensor:
    """Values of the type in which Lightning keeps what is logged."""
    if not result.is_tensor or values.dtype in (torch.float32, torch.float64):
        return values.clone()
    default = torch.get_default_dtype()
    return values.to(default if default in (torch.float32, torch.float64) else torch.float32)


def _by_step(call: Mapping[str, Any], hook: str) -> bool:
    return bool(hook == "training_step" if call["on_step"] is None else call["on_step"])


def by_step(passed: Passed) -> bool:
    """Whether anything of a validation is logged by step."""
    return any(_by_step(call, "validation_step") for call in passed.calls.values())
