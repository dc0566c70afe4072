"""What hooks change of a module beside its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from shoal.engines.step.unfit import CannotStackError

_UPSTREAM = frozenset([*vars(nn.Module()), *vars(pl.LightningModule())])
"""Attributes of torch's and Lightning's own."""


class Attributes:
    """The attributes of a module and its parts."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.changed: set[str] = set()
        """Those of the module itself that hooks have changed since the training began."""
        self._before: dict[tuple[str, str], Any] = {}

    def note(self) -> None:
        """Take note of them before hooks run."""
        self._before = dict(_attributes(self.module))

    def compare(self) -> None:
        """See which ones hooks have changed.

        Raises:
            CannotStackError: where it is one of a part.
        """
        after = dict(_attributes(self.module))
        for place in {**self._before, **after}:
            if place not in after or place not in self._before or after[place] != self._before[place]:
                path, name = place
                if path:
                    raise CannotStackError(f"changes self.{path}.{name}, which a step may look at")
                self.changed.add(name)


def _attributes(module: nn.Module) -> Iterator[tuple[tuple[str, str], Any]]:
    for path, part in module.named_modules():
        if not isinstance(part, Metric | MetricCollection):
            for name, value in vars(part).items():
                if name not in _UPSTREAM or (name == "training" and path):
                    yield (path, name), _mark(value)


class _This:
    """An object that is equal to nothing but itself."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _This) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


def _mark(value: Any) -> Any:
    """Something that is equal to itself as long as the value is what it was."""
    if value is None or isinstance(value, bool | int | str):
        return type(value), value
    if isinstance(value, float):
        return float, value.hex()
    if isinstance(value, Tensor):
        return _This(value), value._version
    if isinstance(value, Mapping):
        return [(_mark(key), _mark(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | set):
        return [_mark(item) for item in value]
    return _This(value)
