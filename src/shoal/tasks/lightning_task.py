"""A task that is a whole LightningModule, which need know nothing of shoal, and the data it trains on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from shoal.errors import ConfigError, UsageError, nearest
from shoal.optimizers import Optimizer
from shoal.schedulers import Scheduler
from shoal.seeding import Stream, global_generator
from shoal.tasks.assessment import Assessment
from shoal.tasks.data import Data, Split
from shoal.tasks.data_hooks import loaders, prepare
from shoal.tasks.forward_input import ForwardInput, of_batch
from shoal.tasks.supervised import configured
from shoal.tasks.task import Task

N_SHOWN = 2000
"""Samples of a DataModule that are looked at for the figure."""

_KEPT_ELSEWHERE = ".*is an instance of `nn.Module` and is already saved"
"""Lightning's warning of hyperparameters that are modules: they are in no checkpoint of ours as such."""


@dataclass(frozen=True, kw_only=True)
class LightningTask(Task):
    """A LightningModule with a DataModule, with the samples of a task, or with data loaders of its own."""

    module: Callable[[], pl.LightningModule]
    """The LightningModule: a node with its class and settings."""
    datamodule: Callable[[], pl.LightningDataModule] | None = None
    """The LightningDataModule it trains on: a node with its class and settings."""
    samples: Task | None = None
    """A task of shoal's whose samples it trains on instead."""

    def __post_init__(self) -> None:
        if self.samples and self.datamodule:
            raise ConfigError("samples", "{...}", "cannot stand beside a datamodule", hint="leave one of the two out")
        for name in ("batch_size", "val_batch_size", "drop_last"):
            if getattr(self, name):
                place = "task.samples" if self.samples else "task.datamodule"
                raise ConfigError(name, getattr(self, name), f"has no effect here: set it in {place}")
            if self.samples:
                # It is frozen; but who asks it for a batch size is to hear that of its samples.
                object.__setattr__(self, name, getattr(self.samples, name))

    @property
    def inputs(self) -> int:
        return len(self._data.features)

    @property
    def outputs(self) -> int:
        return len(self._data.targets)

    @property
    def optimizes(self) -> bool:
        """Whether the module has its own `configure_optimizers`."""
        return self.has("configure_optimizers")

    def has(self, hook: str) -> bool:
        """Whether the module has this hook of its own."""
        return is_overridden(hook, self._looked_at)

    @functools.cached_property
    def _looked_at(self) -> pl.LightningModule:
        """A module that is only asked what it has."""
        return self.drawn_module(0)

    @property
    def validates(self) -> bool:
        return self._validates

    @functools.cached_property
    def _validates(self) -> bool:
        module = self._looked_at
        if not is_overridden("validation_step", module):
            return False
        if self.samples:
            return self.samples.validates
        return is_overridden("val_dataloader", self.drawn_datamodule() or module)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """None: the module logs what it measures."""
        return ()

    @property
    def tests(self) -> bool:
        """Whether its DataModule, or the module itself, has data for a test, and the module a step for it."""
        module = self._looked_at
        source = self.drawn_datamodule() or module
        return is_overridden("test_step", module) and is_overridden("test_dataloader", source)

    @property
    def digest(self) -> str | None:
        return self.samples.digest if self.samples else None

    def drawn_module(self, seed: int) -> pl.LightningModule:
        """The module, its first weights drawn with `seed`."""
        with global_generator(seed, Stream.INITIALISATION), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_KEPT_ELSEWHERE)
            module = self.module()
        # Told here, where the class can be named: Lightning would say it of a Trainer, once the training begins.
        if not is_overridden("training_step", module):
            near = nearest("training_step", [name for name, each in vars(type(module)).items() if callable(each)])
            hint = f"its {near} has to be called training_step" if near else None
            raise ConfigError("module", type(module).__name__, "has no training_step", hint=hint)
        return module

    def complete(self, module: pl.LightningModule, names: Collection[str]) -> None:
        """Let a module make the layers with weights of these names that it makes only when its training begins."""
        # The cheapest first: layers may need no data, or those of `setup`, or be made once that is over.
        begin: tuple[Callable[[], None], ...] = (
            module.configure_model,
            lambda: prepare(module, self.drawn_datamodule()),
            module.configure_model,
        )
        for make in begin:
            # Complete: what comes next might read data for nothing.
            if module.state_dict().keys() == set(names):
                return
            with global_generator(self.seed, Stream.USER):
                make()

    def drawn_datamodule(self) -> pl.LightningDataModule | None:
        """The DataModule, what it draws while it is made and set up drawn with the task's seed."""
        if self.datamodule is None:
            return None
        with global_generator(self.seed, Stream.DATA):
            datamodule = self.datamodule()
        for position, name in enumerate(("prepare_data", "setup"), start=1):
            if is_overridden(name, datamodule):
                # Seeded whoever calls it: Lightning does, and so does a look at the samples.
                setattr(datamodule, name, self._seeded(getattr(datamodule, name), position))
        return datamodule

    def data(self) -> Data:
        return self._data

    def truth(self, x: Tensor) -> Tensor | None:
        return self.samples.truth(x) if self.samples else None

    def description(self) -> str | None:
        return self.samples.description() if self.samples else None

    @property
    def solution(self) -> float | None:
        return self.samples.solution if self.samples else None

    def assess(self, outputs: Tensor) -> Assessment | None:
        return self.samples.assess(outputs) if self.samples else None

    def restored(self, encoding: Mapping[str, Any]) -> Task:
        samples = self.samples.restored(encoding) if self.samples else None
        # Nothing was put in the place of the samples: the module's task is good as it is.
        if samples is self.samples:
            return self
        return replace(self, samples=samples, batch_size=None, val_batch_size=None, drop_last=False)

    def encode(self, columns: Mapping[str, Sequence[Any]], data: Data) -> Tensor:
        return self.samples.encode(columns, data) if self.samples else super().encode(columns, data)

    def decode(self, outputs: Tensor, data: Data) -> dict[str, list[Any]]:
        if self.samples:
            return self.samples.decode(outputs, data)
        names = _names("y", outputs.shape[1])
        return {name: outputs[:, i].tolist() for i, name in enumerate(names)}

    @functools.cached_property
    def _data(self) -> Data:
        """The samples; of a DataModule some of those that are pairs of tensors with a row a sample, to be shown."""
        if self.samples:
            data = self.samples.data()
            # Without a `forward` there is nothing to show beside the samples.
            return data if predicts(self._looked_at) else replace(data, features=(), targets=())
        if not predicts(self._looked_at):
            return _nothing_to_show(())
        with global_generator(self.seed, Stream.USER):
            found = self._loaders()
            train, val = map(_gathered, found)
            if train is None:
                return _nothing_to_show(of_batch(self._looked_at, _first_batch(found[0])))
        # A target of one dimension is a column by itself.
        n_outputs = train.y.shape[1] if train.y.dim() > 1 else 1
        return Data(train, val, _names("x", train.x.shape[1]), _names("y", n_outputs))

    def first_batches(self) -> tuple[Any, Any]:
        """The first batch of its data loaders for training and for validation; None where there is none."""
        with global_generator(self.seed, Stream.USER):
            train, val = (None if loader is None else next(iter(loader), None) for loader in self._loaders())
        return train, val

    def n_batches(self) -> tuple[int | None, int | None]:
        """Batches for training and for validation; None where nothing says how many, or there are several loaders."""
        with global_generator(self.seed, Stream.USER):
            train, val = (_length(each) for each in self._loaders())
        return train, val

    def _loaders(self) -> tuple[Any, Any]:
        """What its DataModule, or the module itself, gives for training and for validation."""
        return loaders(self.drawn_module(0), self.drawn_datamodule())

    def _seeded(self, call: Callable[..., Any], position: int) -> Callable[..., Any]:
        @functools.wraps(call)
        def seeded(*args: Any, **kwargs: Any) -> Any:
            with global_generator(self.seed, Stream.DATA, position):
                return call(*args, **kwargs)

        return seeded


def _length(loader: Any) -> int | None:
    # The length of a list or dictionary of loaders is how many there are.
    return len(loader) if isinstance(loader, Sized) and not isinstance(loader, list | tuple | dict) else None


class Network(nn.Module):
    """The `forward` of a LightningModule, its outputs as (batch, outputs)."""

    def __init__(self, module: pl.LightningModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        if not predicts(self.module):
            raise UsageError(f"{type(self.module).__name__} has no forward: there is nothing to predict with")
        outputs = self.module(x)
        # Many a `forward` ends with `squeeze(1)`.
        return cast(Tensor, outputs if outputs.dim() > 1 else outputs[:, None])


def predicts(module: pl.LightningModule) -> bool:
    """Whether the module has a `forward`."""
    return is_overridden("forward", module)


def trained_by(module: pl.LightningModule, optimizer: Optimizer, scheduler: Scheduler) -> None:
    """Give a module without `configure_optimizers` this optimizer and scheduler."""

    def configure_optimizers() -> Any:
        return configured(module, module, optimizer, scheduler)

    # On the object: the class is the user's, and may be in use elsewhere.
    module.configure_optimizers = configure_optimizers  # type: ignore[method-assign]


def _nothing_to_show(shaped: tuple[ForwardInput, ...]) -> Data:
    return Data(Split(torch.zeros(0, 0), torch.zeros(0, 0)), None, (), (), shaped=shaped)


def _first_batch(loaders: Any) -> Any:
    """The first batch of a data loader; None where there is none, or there are several loaders."""
    return next(iter(loaders), None) if _is_one(loaders) else None


def _is_one(loaders: Any) -> bool:
    # A list or dictionary of loaders gives several batches at a time.
    return isinstance(loaders, Iterable) and not isinstance(loaders, Mapping | Sequence)


def _gathered(loaders: Any) -> Split | None:
    """The first samples of a data loader whose batches are pairs (x, y) with numbers for each sample; or None."""
    if not _is_one(loaders):
        return None
    found: list[tuple[Tensor, Tensor]] = []
    for batch in loaders:
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(x, Tensor) for x in batch)):
            return None
        x, y = batch
        if x.dim() != 2 or y.dim() not in (1, 2) or len(x) != len(y) or not x.is_floating_point():
            return None
        found.append((x, y))
        # As many as a figure shows: a DataModule may have more than fits into memory.
        if sum(len(x) for x, _ in found) >= N_SHOWN:
            break
    return Split(*(torch.cat(parts)[:N_SHOWN] for parts in zip(*found, strict=True))) if found else None


def _names(letter: str, n: int) -> tuple[str, ...]:
    return (letter,) if n == 1 else tuple(f"{letter}{i + 1}" for i in range(n))
