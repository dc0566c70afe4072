"""The optimizer object and the schedulers of a run, made as Lightning makes them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.core import optimizer as lightning

from shoal.engines.generators import module_in
from shoal.engines.job import Job
from shoal.engines.stack.run_optimizer import BY_HAND, RunOptimizer, Scheduled, UnfitError
from shoal.engines.vectorized.probing.failure_words import WITHOUT, one_line, place
from shoal.optimizers import Own
from shoal.optimizers.parts import ByHand
from shoal.schedulers import Horizon, scheduled
from shoal.step.unfit import CannotStackError


def own_optimizer(job: Job, module: pl.LightningModule, horizon: Horizon) -> RunOptimizer:
    """The optimizer that a run trains with alone, over the parameters of `module`.

    Raises:
        UnfitError: where it cannot be made without a Trainer, or is not one for all parameters.
    """
    try:
        made = _made(job, module, horizon)
        if made is None:
            raise CannotStackError("makes no optimizer, so that nothing is trained", "a module that makes one stacks")
        # Lightning's own reading of all that configure_optimizers may give, so that nothing is read otherwise here.
        optimizers, schedulers, monitor = lightning._configure_optimizers(made)
        by_hand = not module.automatic_optimization
        if by_hand:
            configs = lightning._configure_schedulers_manual_opt(schedulers)
            optimizers = [ByHand(optimizers)]
        else:
            configs = lightning._configure_schedulers_automatic_opt(schedulers, monitor)
    except Exception as error:  # whatever a module does there; alone it may do it
        raise UnfitError(*_failed(error, module)) from error
    if len(optimizers) != 1:
        raise UnfitError(
            f"{_name(module)} makes {len(optimizers)} optimizers", "one optimizer with a group for each part stacks"
        )
    scheduled = [
        Scheduled(each.scheduler, each.interval, each.frequency, _watched(each), each.strict) for each in configs
    ]
    for each in scheduled if by_hand else ():
        each.interval, each.monitor = BY_HAND, None
    found = RunOptimizer(module, optimizers[0], scheduled)
    found.hide_state()
    found.asked = module_in(each.scheduler for each in scheduled)
    return found


def _failed(error: Exception, module: pl.LightningModule) -> tuple[str, str]:
    """What a module does there that cannot be done without a Trainer, or at all, and what to write instead."""
    if isinstance(error, CannotStackError):
        return f"{_name(module)} {error.does}", error.instead
    return f"{_name(module)} raises {one_line(error)}", WITHOUT


def _name(module: pl.LightningModule) -> str:
    return f"{type(module).__name__}.configure_optimizers ({place(type(module), 'configure_optimizers')})"


def _made(job: Job, module: pl.LightningModule, horizon: Horizon) -> Any:
    if not isinstance(job.optimizer, Own):
        return scheduled(job.optimizer.of(module), job.scheduler, horizon)
    return module.configure_optimizers()


def _watched(config: Any) -> str | None:
    return str(config.monitor) if config.reduce_on_plateau else None
