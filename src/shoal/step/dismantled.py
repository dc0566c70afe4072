"""Objects in batches that hold tensors: dataclasses, graphs, and whatever else can be sent to another process."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.plain_values import PlainValue, is_plain
from shoal.step.unlooked import Unlooked

_NAMED = type | FunctionType | BuiltinFunctionType


class Dismantled:
    """An object as its tensors, its plain values, and how it is made of them."""

    def __init__(self, content: bytes, values: Sequence[PlainValue], tensors: Sequence[Any]) -> None:
        self.content = content
        self.values = tuple(values)
        self.tensors = list(tensors)

    def whole(self) -> Any:
        """An object like the one that was dismantled, of these tensors."""
        return _Together(self).load()

    def with_values(self, change: Callable[[Any], Any]) -> Dismantled:
        """The same with other plain values."""
        return Dismantled(self.content, [PlainValue(change(each.value)) for each in self.values], self.tensors)


def dismantled(value: Any) -> Dismantled:
    """What an object with tensors in it consists of."""
    content = io.BytesIO()
    apart = _Apart(content)
    apart.dump(value)
    return Dismantled(content.getvalue(), apart.values, apart.tensors)


class _Apart(pickle.Pickler):
    """Leaves out what is kept apart: tensors, and whatever has none in it, which may be another in the next batch."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=3)  # of a later one the names of classes would be values
        self.values: list[PlainValue] = []
        self.tensors: list[Tensor] = []

    def persistent_id(self, each: Any) -> str | None:
        # A text, and no tuple: the parts of a tuple would be asked about in turn.
        if isinstance(each, Tensor):
            known = [place for place, tensor in enumerate(self.tensors) if tensor is each]
            if not known:
                self.tensors.append(each)
            return f"tensor {known[0] if known else len(self.tensors) - 1}"
        found = value_of(each)
        # Functions and classes are known by their names; an object may be made by calling one.
        if found is None or (isinstance(each, _NAMED) and type(found.value) is not Unlooked):
            return None
        self.values.append(found)
        return f"value {len(self.values) - 1}"


class _TensorError(Exception):
    """There is a tensor in it."""


class _Seeking(pickle.Pickler):
    """Ends at the first tensor."""

    def persistent_id(self, each: Any) -> None:
        if isinstance(each, Tensor):
            raise _TensorError


def value_of(each: Any, where: str = "a value in its batch") -> PlainValue | None:
    """What has no tensors in it as a value, hidden if it cannot be compared; None for what has."""
    if is_plain(each):
        return PlainValue(each)
    try:
        _Seeking(io.BytesIO()).dump(each)
    except _TensorError:
        return None
    # Pickling runs the object's own code; a step that makes no use of the object stacks all the same.
    except Exception:
        return PlainValue(Unlooked(where, type(each)))
    return PlainValue(each)


class _Together(pickle.Unpickler):
    """Puts in what was left out; what it reads was written by this program."""

    def __init__(self, parts: Dismantled) -> None:
        super().__init__(io.BytesIO(parts.content))
        self._parts = parts

    def persistent_load(self, pid: str) -> Any:
        kind, place = pid.split()
        return self._parts.tensors[int(place)] if kind == "tensor" else self._parts.values[int(place)].given()


def _flat(parts: Dismantled) -> tuple[list[Any], Any]:
    return parts.tensors, (parts.content, parts.values)


def _whole(tensors: Iterable[Any], rest: Any) -> Dismantled:
    content, values = rest
    return Dismantled(content, values, list(tensors))


pytree.register_pytree_node(Dismantled, _flat, _whole)
