"""What of a training's state a checkpoint can hold: tensors and plain values, as `weights_only` reads them again."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from torch import Tensor

log = logging.getLogger("shoal")

_KINDS = (pl.LightningModule, pl.LightningDataModule)
_PLAIN = (type(None), bool, int, float, str, bytes, complex, torch.dtype, torch.device)
# Not None, which is a value that a hyperparameter may have.
_LEFT_OUT = object()


def readable(state: dict[str, Any]) -> dict[str, Any]:
    """The state, its hyperparameters plain values: those that are objects left out."""
    kept = {name: value for name, value in state.items() if name not in _types(state)}
    return kept | {key: _plain(state[key]) for key in _keys(state)}


def tell_of_objects(state: Mapping[str, Any]) -> None:
    """Say once which hyperparameters are objects, before `readable` leaves them out."""
    names = sorted({name for key in _keys(state) for name in _objects(state[key])})
    if names:
        log.info(
            "checkpoints keep hyperparameters that are plain values; the configuration makes these anew: %s",
            ", ".join(names),
        )


def _keys(state: Mapping[str, Any]) -> list[str]:
    return [kind.CHECKPOINT_HYPER_PARAMS_KEY for kind in _KINDS if kind.CHECKPOINT_HYPER_PARAMS_KEY in state]


def _types(state: Mapping[str, Any]) -> list[str]:
    """Where the class of the hyperparameters is kept, which would be imported."""
    return [kind.CHECKPOINT_HYPER_PARAMS_TYPE for kind in _KINDS if kind.CHECKPOINT_HYPER_PARAMS_TYPE in state]


def _plain(value: Any) -> Any:
    """The value with nothing in it but tensors, numbers, texts, lists and dictionaries."""
    # Of these modules exactly: a subclass comes from one that `weights_only` will not import.
    if isinstance(value, (*_PLAIN, Tensor)) and type(value).__module__ in ("builtins", "torch", "torch.nn.parameter"):
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, int | float):  # a member of an IntEnum is a number
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, str):
        return str.__str__(value)  # of a member of an enumeration its value, which `str` would not always give
    if isinstance(value, Namespace):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        items = {name: _plain(each) for name, each in value.items()}
        return {name: each for name, each in items.items() if each is not _LEFT_OUT}
    if isinstance(value, Sequence):
        # All or nothing: with a gap its other items would be in the wrong places.
        found = [_plain(each) for each in value]
        return (
            _LEFT_OUT
            if any(each is _LEFT_OUT for each in found)
            else tuple(found)
            if isinstance(value, tuple)
            else found
        )
    return _LEFT_OUT


def _objects(value: Mapping[Any, Any], before: str = "") -> Iterator[str]:
    """Names of the hyperparameters that `_plain` leaves out."""
    for name, each in value.items():
        if _plain(each) is _LEFT_OUT:
            yield f"{before}{name}"
        elif isinstance(each, Mapping):
            yield from _objects(each, f"{before}{name}.")
        elif isinstance(each, list | tuple):
            yield from _objects(dict(enumerate(each)), f"{before}{name}.")
