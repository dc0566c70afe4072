"""Modules whose steps are tried: afterwards they are as if nobody had."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, cast

import torch
from torch import Tensor, nn

from shoal.step.exact.rows import same_numbers
from shoal.step.metered import MARK, put


class Untouched:
    """Puts attributes of modules and of their parts back; what was in lists and in tensors as well."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.changed: dict[int, str] = {}
        """By module: the first tensor that was changed in place, and is neither a parameter nor a buffer."""
        self._modules = modules
        self._kept: list[list[tuple[str, nn.Module, dict[str, Any], dict[str, Any]]]] = []

    def __enter__(self) -> Untouched:
        self._kept = [[_kept(path, part) for path, part in module.named_modules()] for module in self._modules]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, parts in enumerate(self._kept):
            for path, part, attributes, contents in parts:
                # Cleared first: attributes that the step has made go as well.
                vars(part).clear()
                vars(part).update(attributes)
                for name, content in contents.items():
                    if not _put_back(attributes[name], content):
                        self.changed.setdefault(number, f"self.{path}.{name}".replace("..", "."))


def replace(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Have a module whose attributes are put back be one with these parameters, buffers and states of metrics."""
    new = {
        id(value): _like(value, weights[name]) for name, value in [*module.named_parameters(), *module.named_buffers()]
    }
    for part in module.modules():
        for own in cast("list[dict[str, Any]]", [part._parameters, part._buffers]):
            own.update({name: new[id(value)] for name, value in own.items() if value is not None})
    for name, value in weights.items():
        if name.startswith(MARK):
            put(module, name, value)


def _like(value: Tensor, new: Tensor) -> Tensor:
    return nn.Parameter(new, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else new


def _kept(path: str, part: nn.Module) -> tuple[str, nn.Module, dict[str, Any], dict[str, Any]]:
    attributes = dict(vars(part))
    contents = {name: copy.copy(value) for name, value in attributes.items() if isinstance(value, list | dict | set)}
    tensors = {name: value.detach().clone() for name, value in attributes.items() if isinstance(value, Tensor)}
    return path, part, attributes, {**contents, **tensors}


def _put_back(value: Any, content: Any) -> bool:
    """Put back what a tensor or a container held; False where it was a tensor with other values."""
    if isinstance(value, Tensor):
        if same_numbers(value.detach(), content):
            return True
        with torch.no_grad():
            value.copy_(content)
        return False
    # The container itself stays: others may hold it.
    value.clear()
    value.extend(content) if isinstance(value, list) else value.update(content)
    return True
