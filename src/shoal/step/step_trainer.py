"""What a step of a run sees of its Trainer, and in which mode its module stands."""

from __future__ import annotations

from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from pytorch_lightning.utilities.model_helpers import _ModuleMode
from torch import nn

from shoal.step.logged import Stage
from shoal.step.unfit import CannotStackError


class StepTrainer:
    """The Trainer of a run in a step: what stays as it is while it trains, and the time by the stack's clock."""

    _CONSTANT = """
        max_epochs max_steps min_epochs min_steps estimated_stepping_batches num_training_batches num_val_batches
        accumulate_grad_batches check_val_every_n_epoch gradient_clip_val gradient_clip_algorithm precision
        world_size num_devices num_nodes global_rank local_rank node_rank is_global_zero fast_dev_run sanity_checking
        testing predicting datamodule
    """

    def __init__(self, trainer: Any, clock: Any, stage: Stage) -> None:
        trains = stage == "train"
        own = {"_trainer": trainer, "_clock": clock, "training": trains}
        # Past `__setattr__`, which refuses.
        vars(self).update(own, validating=not trains, evaluating=not trains)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise CannotStackError(f"sets self.trainer.{name}", "a hook of the epoch's end can stop a run by should_stop")

    def __getattr__(self, name: str) -> Any:
        if name in self._CONSTANT.split():
            return getattr(self._trainer, name)
        if name == "current_epoch":
            return self._clock.epoch
        if name == "global_step":
            return self._clock.step
        if name in ("optimizers", "lr_scheduler_configs"):
            raise CannotStackError(
                f"looks at self.trainer.{name}, which a stack has none of in a step",
                "the learning rate is logged as lr",
            )
        raise CannotStackError(
            f"looks at self.trainer.{name}, which a stack has none of in a step",
            "a hook of the epoch's end may look at callback_metrics, optimizers and loggers there",
        )


_modes: WeakKeyDictionary[nn.Module, _ModuleMode] = WeakKeyDictionary()
"""Which parts of a module train, while it is evaluated."""


def switch(module: nn.Module, *, training: bool) -> None:
    """Let a module train or be evaluated; parts that it has set to evaluate themselves stay so, as in Lightning."""
    if module.training is training:
        return
    if training and module in _modes:
        _modes.pop(module).restore(module)
        return
    if not training:
        _modes[module] = _ModuleMode()
        _modes[module].capture(module)
    module.train(training)
