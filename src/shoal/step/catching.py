"""A class that stands before a LightningModule's own while one of its steps runs.

It catches `self.log`, answers questions about the time from the stack's clock, and refuses what only a Trainer of its
own could give.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NoReturn

import torch
from torch import nn
from torchmetrics import Metric

from shoal.step.clock import Clock
from shoal.step.filled import Fills
from shoal.step.logged import WEIGHT, Entry, NotLoggableError, Stage, arguments, entries, in_dictionary
from shoal.step.standing import own_of, standing_before
from shoal.step.step_trainer import StepTrainer
from shoal.step.unfit import BY_ITSELF, OWN_NAME, CannotStackError


class _Catching:
    """Stands before a module's own class while one of its steps runs."""

    _caught: dict[str, tuple[Any, Entry]]
    _trainer: Any
    _fills: Fills
    _clock: Clock
    _stage: Stage
    _n_samples: int
    _place: torch.device

    @property
    def device(self) -> torch.device:
        return self._place

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        given = arguments(self, name, value, *args, **kwargs)
        # shoal's own modules ask for it: by Lightning's defaults the last batch would stand for an epoch of training.
        if given["batch_size"] is not None and getattr(self, "logs_means", False):
            given |= {"on_step": False, "on_epoch": True}
        try:
            found = entries(self._stage, given, self._clock.loader)
        except NotLoggableError as error:
            raise CannotStackError(*error.args) from None
        if isinstance(value, Metric):
            self._fills.metrics.log(value, found, self._clock.loader)
            return
        # Lightning would count both calls in the mean; a step gives one value for each name.
        if any(key in self._caught for key in found):
            raise CannotStackError(f"logs {name} more than once", OWN_NAME)
        self._caught |= {key: (value, entry) for key, entry in found.items()}
        if given["batch_size"] not in (None, self._n_samples):
            weight = given["batch_size"], Entry("last", shown=False)
            self._caught |= {f"{key}{WEIGHT}": weight for key, entry in found.items() if entry.reduction == "mean"}

    def log_dict(self, dictionary: Any, *args: Any, **kwargs: Any) -> None:
        for name, (value, settings) in in_dictionary(self, dictionary, *args, **kwargs).items():
            self.log(name, value, **settings)

    @property
    def current_epoch(self) -> Any:
        return self._clock.epoch

    @property
    def global_step(self) -> Any:
        return self._clock.step

    @property
    def trainer(self) -> Any:
        if self._trainer is None:
            raise CannotStackError("uses self.trainer", "self.current_epoch and self.global_step are known in a stack")
        return StepTrainer(self._trainer, self._clock, self._stage)

    @property
    def logger(self) -> NoReturn:
        raise CannotStackError(
            "uses self.logger, one writer for each run",
            "self.log writes for each run of a stack, and a hook of the epoch's end may use self.logger",
        )

    loggers = logger

    def optimizers(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise CannotStackError(
            "asks for its optimizer or scheduler, which a stack steps for all runs at once",
            "the learning rate is logged as lr, and a hook of the epoch's end may look at self.trainer.optimizers",
        )

    lr_schedulers = optimizers

    def manual_backward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise CannotStackError("takes its gradient by hand", BY_ITSELF)


@cache
def catching(cls: type[nn.Module], hooked: frozenset[str] = frozenset(), also: type | None = None) -> type[nn.Module]:
    """The class that stands before `cls`; it follows what steps do with the attributes in `hooked`.

    What the class `also` has, it has as well.
    """
    found = standing_before(cls, _Catching, own_of(also) if also else {})
    for name in hooked:
        setattr(found, name, property(*_looking(found, name)))
    return found


def _looking(cls: type[nn.Module], name: str) -> tuple[Any, Any]:
    """Reads and writes an attribute that hooks change: then a step is another one in each epoch."""

    def read(self: Any) -> Any:
        own, agreed, time_use = vars(self), self._agreed, self._clock.time_use
        self._clock.read = True
        if name not in agreed():
            raise CannotStackError(
                f"looks at self.{name}, which a hook sets otherwise in each run", "a buffer may differ"
            )
        # Before the first hook has set it, it may be the class's.
        if time_use is None or name in self._written:
            return own[name] if name in own else getattr(super(cls, self), name)
        # A trace is of no use once the runs do not agree any longer.
        time_use.decided(lambda now: name in agreed())
        return time_use.followed(lambda now: own[name] if name in own else getattr(cls.__mro__[1], name))

    def write(self: Any, value: Any) -> None:
        self._written.add(name)
        vars(self)[name] = value

    return read, write
