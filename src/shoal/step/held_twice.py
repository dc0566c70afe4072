"""Weights that a module has a second time, in its own lists and dictionaries, where `functional_call` does not look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from shoal.step.recurrent import LISTS

Container = list[Any] | MutableMapping[Any, Any]
DEPTH = 3
"""So many containers within each other are looked into."""
_TORCHS = frozenset([*vars(nn.Module()), *LISTS])


class HeldTwice:
    """The items of a module's containers that are parameters or buffers of it."""

    def __init__(self, module: nn.Module) -> None:
        self._places: list[tuple[Container, Any, str]] = []
        names = {id(value): name for name, value in [*module.named_buffers(), *module.named_parameters()]}
        for part in module.modules():
            for name, value in vars(part).items():
                if name not in _TORCHS:
                    self._places += _places(value, names, DEPTH)

    @contextmanager
    def given(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Let them be these tensors, by the names of the parameters and buffers."""
        before = [container[key] for container, key, _ in self._places]
        for container, key, name in self._places:
            container[key] = tensors.get(name, container[key])
        try:
            yield
        finally:
            for (container, key, _), value in zip(self._places, before, strict=True):
                container[key] = value


def _places(value: Any, names: Mapping[int, str], depth: int) -> Iterator[tuple[Container, Any, str]]:
    if not isinstance(value, list | dict) or not depth:
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, Tensor) and id(item) in names:
            yield value, key, names[id(item)]
        yield from _places(item, names, depth - 1)
