"""What objects hold, whatever they are: something that tells each change of theirs, and the objects in them."""

from __future__ import annotations

import functools
import gc
import random
import sys
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from itertools import chain
from operator import is_
from types import CellType, FunctionType, GeneratorType, MethodType
from typing import Any

import numpy
import torch
from torch import Tensor

from shoal.step.silenced import UPSTREAM

CONTAINERS = (list, tuple, set, frozenset, deque)
UNSHOWN = "\0"
"""Begins what of the way to an object is nothing that a program would write."""
_COPIED = 1 << 12
"""Bytes of memory that are compared one by one; of more a sum is."""
_SUMMED = 1 << 20
"""Bytes of which a checksum is; of more, which would take longer than a step, sums are."""
_LARGEST = 1 << 24
"""Bytes of memory that are looked at and put back; of more every so many are looked at."""
_ITERATORS = ("itertools", "builtins")
_KEEPING: Any = type(functools.lru_cache(len))


def leaf(value: Any) -> Any:
    """Something that is equal as long as an object holds the same, of one whose content is no other objects; or None.

    Those are tensors, memory (arrays, buffers, values of ctypes) and generators of random numbers.
    """
    kind: Any = type(value)  # which mypy takes for one without a hash
    how = _leaves(kind)
    return how(value) if how else None


@cache
def _leaves(kind: Any) -> Callable[[Any], Any] | None:
    """What is asked of objects of a type; by type, since of most there is nothing to ask."""
    if issubclass(kind, Tensor):
        return lambda value: 0 if value.is_inference() else value._version
    if issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom):
        return lambda value: value.getstate()
    if issubclass(kind, numpy.random.Generator):
        return lambda value: str(value.bit_generator.state)
    if issubclass(kind, numpy.random.RandomState):
        return _of_state
    if issubclass(kind, torch.Generator):
        return _of_torch
    return _memory if _is_memory(kind) else None


def _of_torch(value: torch.Generator) -> bytes:
    # Within a step that is mapped, the state would be a tensor of the mapping, which has no memory to look at.
    with torch._C._DisableFuncTorch():
        return value.get_state().numpy().tobytes()


def _of_state(value: numpy.random.RandomState) -> Any:
    state: Any = value.get_state(legacy=False)
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]


def _memory(value: Any) -> Any:
    """What the memory of an object holds that lets others look at it."""
    try:
        with memoryview(value) as view:
            if view.nbytes > _SUMMED:
                return view.nbytes if _is_file(value) else _sums(view if view.c_contiguous else memoryview(value.T))
            return view.tobytes() if view.nbytes <= _COPIED else zlib.crc32(view)
    # Of objects and of fields, or closed by now, or not in one piece.
    except (ValueError, TypeError, BufferError, NotImplementedError):
        return numpy.asarray(value).tobytes() if isinstance(value, numpy.ndarray) and value.nbytes <= _SUMMED else 0


def _is_file(value: Any) -> bool:
    """Whether the memory is a file's, which may be larger than what the machine has."""
    return isinstance(value, numpy.memmap) or type(value).__module__ == "mmap"


def _sums(view: memoryview) -> Any:
    """Sums of large memory by columns, in a tenth of a checksum's time."""
    words = numpy.frombuffer(view, numpy.uint8)[: view.nbytes // 512 * 512].view(numpy.uint64).reshape(-1, 64)
    # Its end by itself, which may fill no row.
    return words[:: 1 + view.nbytes // _LARGEST].sum(axis=0).tobytes(), view.cast("B")[-512:].tobytes()


def _is_memory(kind: type) -> bool:
    if issubclass(kind, numpy.ndarray | bytearray | memoryview):
        return True
    return any(each.__module__ in ("array", "mmap", "_ctypes") for each in kind.__mro__)


def named(holder: Any) -> Mapping[str, Any]:
    """The attributes of an object, those in slots among them."""
    own = getattr(holder, "__dict__", {})
    kind: Any = type(holder)  # as above
    slots = _slots_of(kind)
    return {**own, **{name: getattr(holder, name) for name in slots if hasattr(holder, name)}} if slots else own


@cache
def is_own(home: str) -> bool:
    """Whether a file of this name is a program's own."""
    root, where = home.partition(".")[0], getattr(sys.modules.get(home), "__file__", None)
    return (
        where is not None and "-packages" not in where and root not in UPSTREAM and root not in sys.stdlib_module_names
    )


@cache
def _slots_of(cls: Any) -> tuple[str, ...]:
    """The names of the slots of a class that is a program's own."""
    found = [vars(each).get("__slots__", ()) for each in cls.__mro__ if is_own(each.__module__)]
    return tuple(name for names in found for name in ([names] if isinstance(names, str) else names) if name[:2] != "__")


def inside(value: Any) -> Iterator[tuple[str, Any]]:
    """The objects in an object of Python's own kinds, each by how it is reached from there."""
    if isinstance(value, Mapping):
        for number, (key, item) in enumerate(list(value.items())):
            yield f"[{key!r}]" if type(key) in (str, int) else f"[{number}]", item
    elif isinstance(value, CONTAINERS):
        for number, item in enumerate(list(value)):
            yield f"[{number}]", item
    elif isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, MethodType):
        yield "", value.__func__
        yield ".__self__", value.__self__
    elif isinstance(value, CellType):
        with suppress(ValueError):  # it is empty
            yield "", value.cell_contents
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, _KEEPING):
        # Whatever it has kept: by number it would be another one as soon as one more is kept.
        yield from ((f"(){UNSHOWN}{id(each)}", each) for each in gc.get_referents(value) if _holds(each))
    elif isinstance(value, GeneratorType):
        frame = value.gi_frame  # none where it has come to its end
        yield UNSHOWN, frame and frame.f_lasti
        yield from ((UNSHOWN + name, each) for name, each in (dict(frame.f_locals) if frame else {}).items())
    elif type(value).__module__ in _ITERATORS and hasattr(value, "__next__"):
        yield UNSHOWN, _rest(value)
    elif isinstance(value, staticmethod | classmethod):
        yield "", value.__func__
    elif isinstance(value, property):
        yield "", value.fget


def _of_function(value: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function keeps from call to call."""
    for number, each in enumerate(value.__defaults__ or ()):
        yield f"'s default argument {number + 1}", each
    for name, each in (value.__kwdefaults__ or {}).items():
        yield f"'s default argument {name}", each
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        yield f"'s {name}", cell
    for name, each in vars(value).items():
        yield f".{name}", each


def _holds(value: Any) -> bool:
    """Whether something kept by a function may change: what the function is made of does not."""
    return isinstance(value, dict | list | set | deque) or hasattr(value, "__dict__") or leaf(value) is not None


def _rest(value: Any) -> Any:
    """What tells where an iterator is."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")  # later versions of Python want iterators not to be copied
        return value.__reduce__()[1:]
    return None


def undoing(value: Any) -> Callable[[], None] | None:
    """What puts back what a container, a tensor, memory or a generator of random numbers holds now."""
    if isinstance(value, dict | set | deque | list):
        return partial(_refill, value, value.copy())
    if isinstance(value, Tensor) and value.numel() <= _LARGEST >> 3 and not value.is_inference():
        return partial(_write, value, value.detach().clone(), value._version)
    if isinstance(value, CellType):
        return partial(_refill_cell, value, list(inside(value)))
    if isinstance(value, random.Random) and leaf(value) is not None:
        return partial(value.setstate, value.getstate())
    if isinstance(value, numpy.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, torch.Generator):
        return partial(_let_go_on, value, value.get_state())
    return _undoing_memory(value) if _is_memory(type(value)) else None


def _undoing_memory(value: Any) -> Callable[[], None] | None:
    with suppress(ValueError, TypeError, BufferError), memoryview(value) as view:
        if not view.readonly and view.nbytes <= _LARGEST and view.c_contiguous:
            return partial(_overwrite, value, view.tobytes())
    if isinstance(value, numpy.ndarray) and value.flags.writeable and value.nbytes <= _LARGEST:
        return partial(numpy.copyto, value, value.copy())  # which is not in one piece
    return None


def _overwrite(value: Any, before: bytes) -> None:
    with memoryview(value) as view:
        view.cast("B")[:] = before


def _refill(container: Any, before: Any) -> None:
    # What refuses to be changed, as the names of an index of pandas, has not been.
    if _has_items(container, before):
        return
    container.clear()
    (container.extend if isinstance(container, list | deque) else container.update)(before)


def _has_items(container: Any, items: Any) -> bool:
    """Whether a container has these very items, in this order."""
    if isinstance(container, set):
        return bool(container == items)
    if isinstance(container, dict):
        container, items = ([*chain.from_iterable(each.items())] for each in (container, items))
    return len(container) == len(items) and all(map(is_, container, items))


def _refill_cell(cell: CellType, before: list[tuple[str, Any]]) -> None:
    for _, content in before:
        cell.cell_contents = content


def _let_go_on(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _write(value: Tensor, before: Tensor, version: int) -> None:
    if value._version != version:
        with torch.no_grad():
            value.copy_(before)
