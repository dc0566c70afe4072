"""Metrics with a state of their own in a step: what they are called with is noted, and told to each run's later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from shoal.step.logged import Entry
from shoal.step.normalized import without_branches
from shoal.step.unfit import AS_PART, CannotStackError

Call = Callable[[str, Any], None]
"""Told the path of a metric's method, and the arguments that it is called with."""
_METHODS = ("forward", "update")


class Metrics:
    """The metrics of a module, and what a step logs of them."""

    def __init__(self, module: nn.Module) -> None:
        every = {path: part for path, part in module.named_modules() if isinstance(part, Metric | MetricCollection)}
        self._paths = {id(part): path for path, part in every.items()}
        self._every = every
        self._outer = {path for path in every if not any(_within(path, other) for other in every)}
        self.others: Metrics | None = None
        """What the other step logs, of training or of validation."""
        self.logged: dict[str, tuple[str, Entry]] = {}
        """For each name that the step logs the path of the metric, and how to read it."""
        self._loaders: dict[str, int | None] = {}
        """The data loader of each of these metrics."""

    def leave(self) -> None:
        """Let the metrics compute again when they are called."""
        self._every.clear()

    @contextmanager
    def watched(self, call: Call) -> Iterator[None]:
        """Within the block they compute nothing: `call` is told what they are called with."""
        before = {path: dict(vars(part)) for path, part in self._every.items()}
        for path, part in self._every.items():
            vars(part).update(_refused(path, part))
            if path in self._outer:
                vars(part).update({name: _noted(f"{path}.{name}", part, call) for name in _METHODS})
        try:
            yield
        finally:
            for path, part in self._every.items():
                for name in (*_METHODS, *_refused(path, part)):
                    vars(part).pop(name, None)
                    vars(part).update({name: before[path][name]} if name in before[path] else {})

    def log(self, value: Metric, found: dict[str, Entry], loader: int | None = None) -> None:
        """Take note that a step logs a metric, under these names, of one of several data loaders."""
        if id(value) not in self._paths:
            raise CannotStackError("logs a metric that is no part of its module", AS_PART)
        if self._loaders.setdefault(self._paths[id(value)], loader) != loader:
            raise CannotStackError(
                f"logs {next(iter(found))}, a metric that another data loader has filled as well",
                "each data loader needs a metric of its own",
            )
        if self.others and any(path == self._paths[id(value)] for path, _ in self.others.logged.values()):
            raise CannotStackError(
                f"logs {next(iter(found))}, a metric that training and validation share: each empties it",
                "each needs a metric of its own",
            )
        self.logged |= {name: (self._paths[id(value)], entry) for name, entry in found.items()}

    def values(self, module: nn.Module) -> dict[str, float]:
        """What those of a run's module have come to, by the names they are logged under."""
        return {name: _number(name, module.get_submodule(path), entry) for name, (path, entry) in self.logged.items()}

    def reset(self, module: nn.Module) -> None:
        """Begin anew with those that are logged, as Lightning does after an epoch."""
        for path in {path for path, _ in self.logged.values()}:
            module.get_submodule(path).reset()  # type: ignore[operator]


def _refused(path: str, part: Any) -> dict[str, Any]:
    """What stands for what a metric has come to, of which a step knows nothing: its calls are told to it later."""
    return dict.fromkeys(("compute", "reset", *getattr(part, "_defaults", {})), _Untold(path))


class _Untold:
    """What a metric has come to. It is no sequence: a metric's hash would look at what is in it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _used(self, *_: Any, **__: Any) -> NoReturn:
        raise CannotStackError(
            f"looks at what self.{self._path}, a metric, has come to, or empties it",
            "a hook of the epoch's end may, and a buffer can be computed with",
        )

    def __getattr__(self, name: str) -> NoReturn:
        # As in `OfBatch`.
        if name.startswith("_"):
            raise AttributeError(name)
        self._used()

    __call__ = _used
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _used
    __float__ = __int__ = __bool__ = __lt__ = __gt__ = __le__ = __ge__ = __getitem__ = _used


class OfBatch:
    """What a metric gives for a batch: computed, of tensors alone, once it is asked for."""

    def __init__(self, metric: Any, given: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        self._metric = metric
        self._given = given

    @cached_property
    def value(self) -> Tensor:
        """As the metric gives it that has seen nothing else.

        Raises:
            CannotStackError: where that takes more than tensors, or is no single number.
        """
        metric, (args, kwargs) = self._metric, self._given
        kind, own = type(metric), vars(metric)
        before = dict(own)
        try:
            own |= {name: value for name, value in _UNCHECKED.items() if name in own}
            own |= _begun(metric, [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)])
            with without_branches():
                kind.update(metric, *args, **metric._filter_kwargs(**kwargs))
                found = kind.compute(metric)
        except Exception as error:  # the method of a class of anybody's
            raise CannotStackError(
                f"takes what {kind.__name__} gives for a batch, which looks at values", _AS_OBJECT
            ) from error
        finally:
            own.clear()
            own.update(before)
        if not isinstance(found, Tensor):
            raise CannotStackError(
                f"takes what {kind.__name__} gives for a batch, which is not a single number", _AS_OBJECT
            )
        return found

    def _used(self, *_: Any) -> NoReturn:
        raise CannotStackError(f"computes with what {type(self._metric).__name__} gives for a batch", _AS_OBJECT)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _used
    __float__ = __int__ = __bool__ = __lt__ = __gt__ = __le__ = __ge__ = __getitem__ = __len__ = __iter__ = _used

    def __getattr__(self, name: str) -> Any:
        # Copying, pytree and the like ask for such names to see whether they are there.
        if name.startswith("__"):
            raise AttributeError(name)
        self._used()


_AS_OBJECT = "update() and self.log with the metric itself stack"
_UNCHECKED = {"nan_strategy": "disable", "validate_args": False}
"""Settings of a metric that looks at no values."""


def known(value: Any) -> Any:
    """The value itself, where it is what a metric gives for a batch."""
    return value.value if isinstance(value, OfBatch) else value


def _begun(metric: Any, given: Sequence[Tensor]) -> dict[str, Any]:
    """The states of a metric that has seen nothing, each run's own where the step is mapped over runs."""
    zero = next((torch.zeros_like(each.reshape(-1)[:1].sum()) for each in given if each.numel()), torch.zeros(()))
    return {
        name: zero.detach().to(value.dtype) + value if isinstance(value, Tensor) else list(value)
        for name, value in metric._defaults.items()
    }


def _noted(path: str, part: Any, call: Call) -> Callable[..., Any]:
    def noted(*args: Any, **kwargs: Any) -> Any:
        call(path, (args, kwargs))
        if isinstance(part, MetricCollection):
            # Unless told not to, a collection copies the states of its metrics when it is asked for them.
            return {name: OfBatch(each, (args, kwargs)) for name, each in part.items(keep_base=False, copy_state=False)}
        return OfBatch(part, (args, kwargs))

    return noted


def _within(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def _number(name: str, metric: Any, entry: Entry) -> float:
    # What the last `forward` gave is the value of the last batch; `compute` gives that of the epoch.
    found = metric._forward_cache if entry.reduction == "last" else metric.compute()
    if found is None:
        raise CannotStackError(
            f"logs {name}, a metric that has no value of a batch", "on_epoch=True logs that of an epoch"
        )
    return float(found)
