"""What a state has beside tensors and plain values, in a form that `weights_only` reads again.

Optimizers keep queues of gradients, and callbacks numbers of NumPy: both are written as dictionaries that say what they
were. An object of a class of their own is in no checkpoint: a note stands in its place. What a module keeps by its own
`on_save_checkpoint` its configuration makes anew, and where that is the same, a training goes on with it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from torch import Tensor

from shoal.errors import UsageError

KIND = "shoal.kind"
"""The key that tells a dictionary in the place of something else."""

_PLAIN = (type(None), bool, int, float, str, bytes, complex, torch.dtype, torch.device)
_TORCH = (Tensor, torch.nn.Parameter)


def packed(value: Any) -> Any:
    """The value with nothing in it but what is read again; itself where there is nothing else."""
    # Exactly these: a subclass comes from a module that `weights_only` will not import.
    if type(value) in (*_PLAIN, *_TORCH):
        return value
    if type(value) in (dict, OrderedDict):
        items = {name: packed(each) for name, each in value.items()}
        return items if any(items[name] is not each for name, each in value.items()) else value
    if type(value) in (list, tuple):
        found = [packed(each) for each in value]
        return type(value)(found) if any(one is not each for one, each in zip(found, value, strict=True)) else value
    if isinstance(value, deque):
        return {KIND: "deque", "items": [packed(each) for each in value], "maxlen": value.maxlen}
    if isinstance(value, numpy.ndarray | numpy.generic) and value.dtype.kind in "biufc":
        return {
            KIND: "numpy",
            "numbers": torch.from_numpy(numpy.array(value)),
            "array": isinstance(value, numpy.ndarray),
        }
    return value if _reads(value) else _note(value)


def unpacked(value: Any) -> Any:
    """What `packed` was given; what was no part of it stays a note."""
    if type(value) in (list, tuple):
        return type(value)(map(unpacked, value))
    if type(value) not in (dict, OrderedDict):
        return value
    kind = value.get(KIND)
    if kind == "deque":
        return deque(map(unpacked, value["items"]), value["maxlen"])
    if kind == "numpy":
        numbers = value["numbers"].numpy()
        return numbers if value["array"] else numbers[()]
    for name, each in value.items():
        value[name] = unpacked(each)
    return value


def made_anew(state: dict[str, Any], module: pl.LightningModule) -> dict[str, Any]:
    """The state, with what the module itself keeps in the place of notes of the same; `module` is as it was made."""
    if not next(missing(state), None):
        return state
    own: dict[str, Any] = {}
    with suppress(Exception):  # a hook that wants more than a module that has just been made
        module.on_save_checkpoint(own)
    return {name: _filled(value, own.get(name)) for name, value in state.items()}


def _filled(value: Any, own: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.get(KIND) == "missing":
        return own if own is not None and value["digest"] == _digest(own) != "" else value
    given = own if isinstance(own, Mapping) else {}
    return {name: _filled(each, given.get(name)) for name, each in value.items()}


def refuse_incomplete(path: object, state: Mapping[str, Any]) -> None:
    """Refuse to go on from a state that is not all there.

    Raises:
        UsageError: what is missing.
    """
    if found := next(missing(state), None):
        problem = f"is without a {found}, which no checkpoint can hold, and which is not as it was made"
        raise UsageError(f"{path} {problem}", hint="start a new run")


def missing(value: Any) -> Iterator[str]:
    """The classes of what is no part of a state that was read."""
    if isinstance(value, Mapping):
        if value.get(KIND) == "missing":
            yield value["class"]
        for each in value.values():
            yield from missing(each)
    elif isinstance(value, list | tuple | deque):
        for each in value:
            yield from missing(each)


def _reads(value: Any) -> bool:
    """Whether torch reads the value again with `weights_only`."""
    # Tried, since torch alone knows what it takes: it differs by version, and users add to it (add_safe_globals).
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    except Exception:
        return False
    return True


def _note(value: Any) -> dict[str, str]:
    kind = f"{type(value).__module__}.{type(value).__name__}"
    return {KIND: "missing", "class": kind, "digest": _digest(value)}


def _digest(value: Any) -> str:
    """Of all that an object holds; none of one that has a function without a name, or the like."""
    try:
        return hashlib.blake2b(pickle.dumps(value), digest_size=16).hexdigest()
    except Exception:
        return ""
