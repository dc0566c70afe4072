"""A LightningModule's own steps as functions of its parameters, with what they log caught on the way.

While a step runs, its module's class is one that catches `self.log`, answers questions about the time from the stack's
clock, and refuses what only a Trainer of its own could give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from shoal.engines.step.logged import Entry, Stage, arguments, entries
from shoal.engines.step.mapped import Clock, Outcome, Tensors


class CannotStackError(Exception):
    """A step needs something that a stack cannot give it."""


class _Catching:
    """Stands before a module's own class while one of its steps runs."""

    _caught: dict[str, tuple[Any, Entry]]
    _clock: Clock
    _stage: Stage
    _n_samples: int

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        given = arguments(self, name, value, *args, **kwargs)
        if given["reduce_fx"] != "mean":
            raise CannotStackError(f"logs {name} with a reduce_fx that is not the mean")
        if given["batch_size"] is not None and getattr(self, "logs_means", False):
            given |= {"on_step": False, "on_epoch": True}
        if given["batch_size"] == self._n_samples:
            given["batch_size"] = None
        found = entries(self._stage, given)
        if not found:
            raise CannotStackError(f"logs {name} neither by step nor by epoch")
        self._caught |= {key: (value, entry) for key, entry in found.items()}

    def log_dict(self, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        for name, value in dictionary.items():
            self.log(name, value, *args, **kwargs)

    @property
    def current_epoch(self) -> int:
        return self._clock.epoch

    @property
    def global_step(self) -> int:
        return self._clock.step

    @property
    def trainer(self) -> NoReturn:
        raise CannotStackError("uses self.trainer")

    def optimizers(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise CannotStackError("optimizes by hand")

    manual_backward = lr_schedulers = optimizers


@cache
def _catching(cls: type[nn.Module]) -> type[nn.Module]:
    return type(cls.__name__, (_Catching, cls), {"__module__": cls.__module__})


class _Calling(nn.Module):
    """A module whose forward is a step of the LightningModule in it."""

    def __init__(self, module: pl.LightningModule, stage: Stage) -> None:
        super().__init__()
        self.module = module
        self.step = "training_step" if stage == "train" else "validation_step"

    def forward(self, batch: Any, number: int) -> Any:
        return getattr(self.module, self.step)(batch, number)


class CapturedStep:
    """The training or validation step of a LightningModule, as a step of the vectorised engine."""

    def __init__(self, module: pl.LightningModule, stage: Stage, *, keeps: bool = False) -> None:
        """`keeps` says to keep what the step returns: a tensor of outputs."""
        self.module = module
        self.stage: Stage = stage
        self.keeps = keeps
        self.entries: dict[str, Entry] = {}
        """How to read what the step logged, by name; known after the first call."""
        self._calling = _Calling(module, stage)

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Outcome:
        new = {name: value.clone() for name, value in buffers.items()}
        named = {f"module.{name}": value for name, value in {**params, **new}.items()}
        with self._observed(batch, clock) as caught:
            output = functional_call(self._calling, named, (batch, BatchNumber(clock)))
        self.entries |= {name: entry for name, (_, entry) in caught.items()}
        logged = {name: _scalar(name, value, params) for name, (value, _) in caught.items()}
        return Outcome(self._loss(output, params), logged, new, (output,) if self.keeps else ())

    @contextmanager
    def _observed(self, batch: Any, clock: Clock) -> Iterator[dict[str, tuple[Any, Entry]]]:
        module: Any = self.module
        cls: Any = type(self.module)
        caught: dict[str, tuple[Any, Entry]] = {}
        training = self.stage == "train"
        if module.training != training:
            module.train(training)
        watched = {"_caught": caught, "_clock": clock, "_stage": self.stage, "_n_samples": n_samples(batch)}
        module.__dict__.update(watched)
        module.__class__ = _catching(cls)
        try:
            yield caught
        finally:
            module.__class__ = cls
            for name in watched:
                del module.__dict__[name]

    def _loss(self, output: Any, params: Tensors) -> Tensor:
        if self.stage == "val":
            return next(iter(params.values())).new_zeros(())
        if isinstance(output, Mapping):
            output = output.get("loss")
        if not isinstance(output, Tensor):
            raise CannotStackError("returns no loss")
        return output


class BatchNumber(int):
    """The number of a batch; the clock knows when it is looked at."""

    _clock: Clock

    def __new__(cls, clock: Clock) -> BatchNumber:
        number = super().__new__(cls, clock.now[1])
        number._clock = clock
        return number


def _noticed(name: str) -> Any:
    def method(self: BatchNumber, *args: Any) -> Any:
        self._clock.read = True
        return getattr(int, name)(self, *args)

    return method


_ASKING = """
    add radd sub rsub mul rmul floordiv rfloordiv truediv rtruediv mod rmod divmod pow neg eq ne lt le gt ge
    bool int index float hash repr str format
"""
for _name in _ASKING.split():
    setattr(BatchNumber, f"__{_name}__", _noticed(f"__{_name}__"))


def n_samples(batch: Any) -> int:
    """The length of the first tensor in a batch, as Lightning counts samples."""
    tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0]
    return len(tensors[0]) if tensors else 1


def _scalar(name: str, value: Any, params: Tensors) -> Tensor:
    if not isinstance(value, Tensor):
        return torch.tensor(float(value), dtype=torch.float64)
    if value.numel() != 1:
        raise CannotStackError(f"logs {name}, which is not a single number")
    return value.detach().reshape(())
