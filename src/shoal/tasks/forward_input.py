"""What the `forward` of a LightningModule is given where that is no row of numbers: pictures, series, words."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ForwardInput:
    """A tensor that `forward` takes."""

    name: str
    """The argument's."""
    shape: tuple[int, ...]
    """Of one sample."""
    dtype: str
    """As torch names it, without `torch.`."""
    low: float
    high: float
    """The least and the greatest number in a batch."""


def of_batch(module: pl.LightningModule, batch: Any) -> tuple[ForwardInput, ...]:
    """What `forward` takes of a batch: the tensors by the names of its arguments, or the first ones; none if not all.

    An argument with a default is left to it.
    """
    names = _arguments(module)
    if isinstance(batch, Mapping):
        return _described({name: batch.get(name) for name in names})
    tensors = batch if isinstance(batch, list | tuple) else [batch]
    # The first tensors of a batch are taken for what `forward` takes; the rest are targets.
    return _described(dict(zip(names, tensors, strict=False))) if len(tensors) >= len(names) else ()


def of_example(module: pl.LightningModule) -> tuple[ForwardInput, ...]:
    """What `forward` takes by the module's `example_input_array`; none where it has none."""
    # Lightning's own attribute, which its summary and its export use.
    example: Any = module.example_input_array
    if example is None:
        return ()
    if isinstance(example, Mapping):
        return _described(example)
    return of_batch(module, tuple(example) if isinstance(example, list | tuple) else (example,))


def _arguments(module: pl.LightningModule) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return [each.name for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]


def _described(tensors: Mapping[str, Any]) -> tuple[ForwardInput, ...]:
    if not all(_has_samples(each) for each in tensors.values()):
        return ()
    return tuple(_one(name, tensor) for name, tensor in tensors.items())


def _has_samples(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.numel() > 0 and not value.is_complex()


def _one(name: str, batch: Tensor) -> ForwardInput:
    # Of whole numbers and of half precision too, whose own minimum not every type has.
    numbers = batch.to(torch.float64)
    dtype = str(batch.dtype).removeprefix("torch.")
    low, high = float(numbers.min()), float(numbers.max())
    return ForwardInput(name=name, shape=tuple(batch.shape[1:]), dtype=dtype, low=low, high=high)
