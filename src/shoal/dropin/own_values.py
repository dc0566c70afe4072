"""What a job's module holds otherwise than the others of its stack, and whether a step has looked at it.

A stack takes the steps of all its jobs by the code and the attributes of one of them. Whatever differs between them may
count from some later epoch on, which no trial of the first step shows: so it is noted when it is read.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn

from shoal.engines.step.captured import standing_before
from shoal.engines.step.unfit import CannotStackError
from shoal.engines.vectorized.signature import PER_RUN, plain

Differing = Mapping[str, Any]
"""By name True, or of a mapping what differs in it."""
_ABSENT = object()
_views: weakref.WeakKeyDictionary[nn.Module, dict[str, Callable[[], Any]]] = weakref.WeakKeyDictionary()
"""By part of a module: how attributes are read that differ."""


def is_settings(name: str, value: Any) -> bool:
    """Whether an attribute of a module holds settings by name, of which jobs may differ in some."""
    return name == "_hparams" or (isinstance(value, Mapping) and not name.startswith("_"))


class OwnValues:
    """Attributes in which the modules of jobs differ, as the step of the first of them reads them."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.read: dict[str, list[Any]] = {}
        """By path what a step has read, with the values of all modules."""
        self._parts: list[tuple[nn.Module, type[nn.Module]]] = []
        for paths in zip(*(module.named_modules() for module in modules), strict=True):
            path, parts = paths[0][0], [part for _, part in paths]
            found = _attributes(parts)
            if found:
                self._watch(f"{path}." if path else "", parts, found)

    def _watch(self, path: str, parts: Sequence[nn.Module], found: Differing) -> None:
        def view(name: str) -> Callable[[], Any]:
            values = [vars(part).get(name, _ABSENT) for part in parts]
            return lambda: _seen(values, found[name], f"{path}{name.removeprefix('_')}", self.read)

        first = parts[0]
        cls: Any = type(first)
        _views[first] = {name: view(name) for name in found}
        self._parts.append((first, _looking(cls, frozenset(found))))

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is read of the first module."""
        before = [(part, type(part)) for part, _ in self._parts]
        try:
            for part, cls in self._parts:
                part.__class__ = cls
            yield
        finally:
            for part, cls in before:
                part.__class__ = cls


def _attributes(parts: Sequence[nn.Module]) -> dict[str, Any]:
    """The attributes of one part of all modules that may differ, and do."""
    own = getattr(type(parts[0]), "per_run", ())
    names = [
        name
        for name, value in vars(parts[0]).items()
        if name not in ("_parameters", "_buffers", "_modules", "_hparams_initial", *own)
        and (name in PER_RUN or is_settings(name, value))
    ]
    found = {name: _differing([vars(part).get(name, _ABSENT) for part in parts]) for name in names}
    return {name: differs for name, differs in found.items() if differs}


def _differing(values: Sequence[Any]) -> Any:
    """True where values differ; of mappings with the same names a mapping of those that do."""
    first = values[0]
    try:
        if all(isinstance(value, Mapping) and list(value) == list(first) for value in values):
            found = {key: _differing([value[key] for value in values]) for key in first}
            return {key: differs for key, differs in found.items() if differs}
        return len({plain(value) for value in values}) > 1
    except Exception:  # of a configuration, a value that cannot be resolved here
        return True


def _seen(values: Sequence[Any], differs: Any, path: str, read: dict[str, list[Any]]) -> Any:
    """What a step is given that reads the first of these values."""
    if differs is True:
        read[path] = list(values)
        return values[0]
    return _View(values, differs, path, read)


class _View(Mapping[Any, Any]):
    """Settings by name, which notes what is read of those that differ."""

    __slots__ = ("_differs", "_path", "_read", "_values")

    def __init__(self, *given: Any) -> None:
        for name, value in zip(("_values", "_differs", "_path", "_read"), given, strict=True):
            object.__setattr__(self, name, value)

    def __getitem__(self, key: Any) -> Any:
        values = [value[key] for value in self._values] if key in self._differs else []
        return _seen(values, self._differs[key], f"{self._path}.{key}", self._read) if values else self._values[0][key]

    def __getattr__(self, name: str) -> Any:
        return self[name] if name in self._differs else getattr(self._values[0], name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values[0])

    def __len__(self) -> int:
        return len(self._values[0])

    def __setattr__(self, name: str, value: Any) -> None:
        raise CannotStackError(f"changes self.{self._path}")

    __setitem__ = __setattr__


@cache
def _looking(cls: Any, names: frozenset[str]) -> type[nn.Module]:
    """A class like `cls` whose attributes of these names are read by `_views`."""
    return standing_before(cls, object, {name: property(*_access(name)) for name in names})


def _access(name: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
    def read(self: Any) -> Any:
        return _views[self][name]()

    def write(self: Any, value: Any) -> None:
        vars(self)[name] = value

    return read, write
