"""Metrics with a state of their own in a step: what they are called with is noted, and told to each run's later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torchmetrics import Metric, MetricCollection

from shoal.engines.step.logged import Entry
from shoal.engines.step.unfit import CannotStackError

Call = Callable[[str, Any], None]
"""Told the path of a metric's method, and the arguments that it is called with."""
_METHODS = ("forward", "update")


class Metrics:
    """The metrics of a module, and what a step logs of them."""

    def __init__(self, module: nn.Module) -> None:
        every = {path: part for path, part in module.named_modules() if isinstance(part, Metric | MetricCollection)}
        self._paths = {id(part): path for path, part in every.items()}
        self._outer = {path: part for path, part in every.items() if not any(_within(path, other) for other in every)}
        self.logged: dict[str, tuple[str, Entry]] = {}
        """For each name that the step logs the path of the metric, and how to read it."""

    def leave(self) -> None:
        """Let them compute from now on, whatever they are called with."""
        self._outer.clear()

    @contextmanager
    def watched(self, call: Call) -> Iterator[None]:
        """Within the block they compute nothing: `call` is told what they are called with."""
        before = {path: dict(vars(part)) for path, part in self._outer.items()}
        for path, part in self._outer.items():
            vars(part).update({name: _noted(f"{path}.{name}", call) for name in _METHODS})
        try:
            yield
        finally:
            for path, part in self._outer.items():
                for name in _METHODS:
                    vars(part).pop(name)
                    vars(part).update({name: before[path][name]} if name in before[path] else {})

    def log(self, value: Metric, found: dict[str, Entry]) -> None:
        """Take note that a step logs a metric, under these names."""
        if id(value) not in self._paths:
            raise CannotStackError("logs a metric that is no part of its module")
        self.logged |= {name: (self._paths[id(value)], entry) for name, entry in found.items()}

    def values(self, module: nn.Module) -> dict[str, float]:
        """What those of a run's module have come to, by the names they are logged under."""
        return {name: _number(module.get_submodule(path), entry) for name, (path, entry) in self.logged.items()}

    def reset(self, module: nn.Module) -> None:
        """Begin anew with those that are logged, as Lightning does after an epoch."""
        for path in {path for path, _ in self.logged.values()}:
            module.get_submodule(path).reset()  # type: ignore[operator]


class _Unknown:
    """What a metric gives for a batch: nobody knows it while a step runs for all runs at once."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise CannotStackError("computes with what a metric gives for a batch")


def _noted(path: str, call: Call) -> Callable[..., Any]:
    def noted(*args: Any, **kwargs: Any) -> Any:
        call(path, (args, kwargs))
        return _Unknown()

    return noted


def _within(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def _number(metric: Any, entry: Entry) -> float:
    return float(metric._forward_cache if entry.reduction == "last" else metric.compute())
