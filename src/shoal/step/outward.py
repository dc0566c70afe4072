"""What a step leaves outside of its module: lost in a stack, where it runs once for many runs and batches; refused."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from shoal.step.attributes import PLAIN
from shoal.step.silenced import UPSTREAM, silenced
from shoal.step.unfit import CannotStackError

_LOOKED_AT = (*PLAIN, Tensor)
_LONGEST = 1000
"""Values of a container that is looked at."""
_MOST = 300
"""Objects that are looked at."""
_CONTAINERS = (list, dict, set, deque)
_HOLDING = frozenset({"types", "argparse", "queue", "csv", "collections", "functools"})
"""Modules of Python's whose objects hold what programs put there."""
_once: dict[tuple[int, str], tuple[Any, Any, Any]] = {}
"""What steps have changed outside of their modules, by whose it is and its name: as it was before, after, and whose."""


@contextmanager
def nothing_left(module: nn.Module) -> Iterator[None]:
    """Refuse what leaves anything outside of the module, and put it back.

    Raises:
        CannotStackError: where it prints, logs, writes a file, or changes a second time what lies outside.
    """
    environment, places = dict(os.environ), [*_outside(module)]
    kept = [_content(_named(holder)) for _, holder in places]
    files = [(path, file, _position(file)) for path, file in _files(module, places)]
    with silenced() as refused:
        yield
    if refused:  # by an error that the step itself has caught
        raise CannotStackError(refused[0])
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
        raise CannotStackError("changes os.environ")
    for path, file, position in files:
        if _position(file) != position:
            _cut(file, position)
            raise CannotStackError(f"writes to {path}, a file")
    for (path, holder), old in zip(places, kept, strict=True):
        for name in _changed(_named(holder), old):
            # The first time it may have been made, to be kept: then it is the same the next time.
            before, after, _ = _once.get((id(holder), name), (None, None, None))
            _once[id(holder), name] = old[name], _content(_named(holder)).get(name), holder
            if before is not None:
                # As if nobody had tried the step: the first time was a trial too, unless others have come since.
                _put_back(holder, name, *(before if _same(after, old[name]) else old[name]))
                raise CannotStackError(f"changes {path}.{name}, which is no attribute of its module")


def _same(one: Any, other: Any) -> bool:
    return one is not None and one[0] is other[0] and one[1] == other[1]


def _put_back(holder: Any, name: str, value: Any, held: Any) -> None:
    if isinstance(value, list):
        value[:] = held[:-1]
    elif isinstance(value, dict | set):
        value.clear()
        value.update(held if isinstance(value, dict) else held[:-1])
    elif isinstance(value, deque):
        value.clear()
        value.extend(held[:-1])
    setattr(holder, name, value)


def _outside(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The classes of a module and its parts, the files that these are in, and objects there, by what each is called."""
    seen = set[int]()
    found = deque(_classes(module))
    while found and len(seen) < _MOST:
        path, holder = found.popleft()
        if id(holder) not in seen:
            seen.add(id(holder))
            yield path, holder
            found += _inner(path, holder)


def _inner(path: str, holder: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object that may hold something of the program's."""
    for name, value in list(_named(holder).items()):
        if isinstance(value, ModuleType):
            if _is_own(value.__name__):
                yield value.__name__, value
        elif (hasattr(value, "__dict__") or _slots(value)) and not isinstance(value, type | Tensor | nn.Module):
            home = type(value).__module__
            if home in _HOLDING or _is_own(home):
                yield f"{path}.{name}", value


def _named(holder: Any) -> Mapping[str, Any]:
    """The attributes of an object, those in slots among them."""
    own = getattr(holder, "__dict__", {})
    slots = _slots(holder)
    return {**own, **{name: getattr(holder, name) for name in slots if hasattr(holder, name)}} if slots else own


def _slots(value: Any) -> tuple[str, ...]:
    kind: Any = type(value)  # which mypy takes for one without a hash
    return _slots_of(kind)


@cache
def _slots_of(cls: type) -> tuple[str, ...]:
    """The names of the slots of a class that is a program's own."""
    found = [vars(each).get("__slots__", ()) for each in cls.__mro__ if _is_own(each.__module__)]
    return tuple(name for names in found for name in ([names] if isinstance(names, str) else names) if name[:2] != "__")


def _classes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    seen = set[Any]()
    for part in module.modules():
        for cls in type(part).__mro__:
            home = cls.__module__
            if cls in seen or home.partition(".")[0] in UPSTREAM:
                continue
            seen |= {cls}
            yield cls.__qualname__, cls
            if home not in seen and home in sys.modules:
                seen.add(home)
                yield home, sys.modules[home]


@cache
def _is_own(home: str) -> bool:
    """Whether a file of this name is a program's own."""
    root, where = home.partition(".")[0], getattr(sys.modules.get(home), "__file__", None)
    return (
        where is not None and "-packages" not in where and root not in UPSTREAM and root not in sys.stdlib_module_names
    )


def _files(module: nn.Module, places: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, io.IOBase]]:
    """The files open for writing that these objects hold, and the module and what is in its attributes."""
    own = [(".".join(filter(None, ("self", path))), part) for path, part in module.named_modules()]
    inner = [found for path, part in own for found in _inner(path, part)]
    for path, holder in [*places, *own, *inner]:
        for name, value in list(_named(holder).items()):
            file = _file(value)
            if file is not None:
                yield f"{path}.{name}", file


def _file(value: Any) -> io.IOBase | None:
    # What writes rows for `csv` has no attribute that names its file.
    if type(value).__module__ == "_csv":
        methods = gc.get_referents(value)
        value = next((method.__self__ for method in methods if hasattr(method, "__self__")), None)
    is_written = isinstance(value, io.IOBase) and not value.closed and value.writable() and value.seekable()
    return value if is_written else None


def _position(file: io.IOBase) -> int:
    return -1 if file.closed else file.tell()


def _cut(file: io.IOBase, position: int) -> None:
    """Take back what was written from there on."""
    if not file.closed:
        file.seek(position)
        file.truncate()


def _content(holder: Mapping[str, Any]) -> dict[str, Any]:
    """The values of names; of containers what they hold, unless that is very much."""
    return {
        name: (value, _held(value))
        for name, value in list(holder.items())
        if not name.startswith("__")
        and (isinstance(value, _LOOKED_AT) or (isinstance(value, _CONTAINERS) and len(value) <= _LONGEST))
    }


def _held(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value._version
    if isinstance(value, dict):
        return dict(value)
    # The length, too: by that a longer one is told at once.
    return [*value, len(value)] if isinstance(value, _CONTAINERS) else None


def _changed(holder: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    for name, (value, held) in old.items():
        now = holder.get(name)
        if now is not value and not (type(now) is type(value) and not isinstance(now, Tensor) and now == value):
            yield name
        elif isinstance(value, dict):
            # One that grows keeps what was made for a new key.
            if any(value.get(key) is not each and not _equal(value.get(key), each) for key, each in held.items()):
                yield name
        elif held is not None and not _equal(_held(value), held):
            yield name


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are one, or equal: of those that cannot tell, only one and the same."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one is other or (isinstance(one, PLAIN) and type(one) is type(other) and one == other)
