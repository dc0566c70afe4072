"""What a hook at the end of an epoch logs of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.connectors.logger_connector.fx_validator import _FxValidator
from torch import Tensor, nn
from torchmetrics import Metric

from shoal.step.logged import Entry, NotLoggableError, Total, arguments, entries, in_dictionary
from shoal.step.standing import standing_before
from shoal.step.unfit import CannotStackError


class HookLog:
    """The logged values, by name."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self._found: dict[str, tuple[Entry, list[float]]] = {}

    def add(self, given: Mapping[str, Any]) -> None:
        """Add what a call of `self.log` was given."""
        # Lightning's own table of what may be logged in each hook.
        options = _FxValidator.functions.get(self.hook)
        if options is None or given["on_step"]:
            raise CannotStackError(
                f"logs {given['name']} by step, which Lightning does not allow there", "on_epoch=True logs it"
            )
        value = given["value"]
        if isinstance(value, Metric):
            value = value.compute()
        try:
            # As in a validation: once for the epoch, whatever the hook.
            found = entries("val", {**given, "on_step": False, "on_epoch": True})
        except NotLoggableError as error:
            raise CannotStackError(*error.args) from None
        for name, entry in found.items():
            self._found.setdefault(name, (entry, []))[1].append(_kept(value))

    @property
    def every(self) -> dict[str, Tensor]:
        """The numbers of the epoch, for callbacks."""
        return {name: _number(entry, values) for name, (entry, values) in self._found.items()}

    @property
    def shown(self) -> dict[str, float]:
        """Those that are columns of the history."""
        return {name: float(_number(*found)) for name, found in self._found.items() if found[0].shown}


def _kept(value: Any) -> float:
    """The value as Lightning keeps it: what is no tensor yet as one of the usual precision."""
    return float(value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.get_default_dtype()))


def _number(entry: Entry, values: list[float]) -> Tensor:
    # (calls, 1), each call of the same weight: there is no batch here whose size could be one.
    column = torch.tensor(values, dtype=torch.float64)[:, None]
    return Total.nothing(entry, 1).and_(entry, column, [1.0] * len(values)).number(entry)[0]


class _Logging:
    """Stands before a module's own class while one of its hooks runs."""

    _given: HookLog

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        self._given.add(arguments(self, name, value, *args, **kwargs))

    def log_dict(self, dictionary: Any, *args: Any, **kwargs: Any) -> None:
        for name, (value, settings) in in_dictionary(self, dictionary, *args, **kwargs).items():
            self.log(name, value, **settings)

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        # Lightning's own takes them from the Trainer's strategy, which a run of a stack has not.
        found = self.trainer.optimizers  # type: ignore[attr-defined]
        found = [_wrapped(each) for each in found] if use_pl_optimizer else found
        return found[0] if len(found) == 1 else found


class _Unstepped:
    """Stands for the strategy by which Lightning's optimizers step."""

    def optimizer_step(self, *_: Any, **__: Any) -> NoReturn:
        raise CannotStackError(
            "steps its optimizer in a hook", "self.optimizers(use_pl_optimizer=False) gives torch's, which may step"
        )


def _wrapped(optimizer: torch.optim.Optimizer) -> LightningOptimizer:
    found = LightningOptimizer(optimizer)
    found._strategy = cast(Any, _Unstepped())
    return found


@cache
def _class(cls: type[nn.Module]) -> type[nn.Module]:
    return standing_before(cls, _Logging, {})


@contextmanager
def logging_in(module: pl.LightningModule, hook: str) -> Iterator[HookLog]:
    """Catch what the module logs."""
    given, watched = HookLog(hook), cast(Any, module)
    cls = watched.__class__
    vars(module)["_given"] = given
    standing = watched.__class__ = _class(cls)
    before = {*vars(standing)}
    try:
        yield given
    finally:
        watched.__class__ = cls
        # What a hook sets of its class, it sets of the one that was not there in its place.
        for name in [name for name in vars(standing) if name not in before]:
            setattr(cls, name, vars(standing)[name])
            delattr(standing, name)
        del vars(module)["_given"]
