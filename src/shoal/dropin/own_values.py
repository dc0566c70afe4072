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

from omegaconf import DictConfig, OmegaConf
from torch import nn

from shoal.engines.vectorized.signature import PER_RUN, plain
from shoal.step.standing import standing_before
from shoal.step.unfit import AS_BUFFER, CannotStackError

Differing = Mapping[str, Any]
"""By name True, or of a mapping what differs in it."""
_ABSENT = object()
_views: weakref.WeakKeyDictionary[nn.Module, dict[str, Callable[[], Any]]] = weakref.WeakKeyDictionary()
"""By part of a module: how attributes are read that differ."""


def is_settings(name: str, value: Any) -> bool:
    """Whether an attribute of a module holds settings by name, of which jobs may differ in some."""
    return name == "_hparams" or (isinstance(value, Mapping) and not name.startswith("_"))


Resolved = Sequence[tuple[nn.Module, str, Any]]
"""Of parts of a module the attributes that are configurations, as their job resolves them."""


def resolved(module: nn.Module) -> Resolved:
    """The configurations that a job's module keeps, without what Hydra resolves for each job otherwise."""
    return [
        (part, name, _resolved(value))
        for part in module.modules()
        for name, value in vars(part).items()
        if isinstance(value, DictConfig) or name == "_hparams"
    ]


def _resolved(value: Any) -> Any:
    if isinstance(value, DictConfig):
        found = OmegaConf.create(OmegaConf.to_container(value, resolve=True))
        OmegaConf.set_struct(found, OmegaConf.is_struct(value))
        return found
    configs = {name: _resolved(each) for name, each in value.items() if isinstance(each, DictConfig)}
    return type(value)({**value, **configs}) if configs else value


@contextmanager
def in_place(found: Resolved) -> Iterator[None]:
    """Have modules keep these; a configuration asks Hydra, whose own is that of no job where they are compared."""
    before = [vars(part)[name] for part, name, _ in found]
    try:
        for part, name, value in found:
            vars(part)[name] = value
        yield
    finally:
        for (part, name, _), value in zip(found, before, strict=True):
            vars(part)[name] = value


class OwnValues:
    """Attributes in which the modules of jobs differ, as the step of the first of them reads them."""

    def __init__(self, modules: Sequence[nn.Module], configs: Resolved = ()) -> None:
        """Compare the modules, with these configurations in place."""
        self.read: dict[str, list[Any]] = {}
        """By path what a step has read: of all modules something to compare."""
        self._parts: list[tuple[nn.Module, type[nn.Module]]] = []
        with in_place(configs):
            for paths in zip(*(module.named_modules() for module in modules), strict=True):
                path, parts = paths[0][0], [part for _, part in paths]
                if found := _attributes(parts):
                    self._watch(f"{path}." if path else "", parts, found)

    def _watch(self, path: str, parts: Sequence[nn.Module], found: Differing) -> None:
        # None of it has the module itself, which would never be let go then.
        read = self.read

        def view(name: str) -> Callable[[], Any]:
            values = [vars(part).get(name, _ABSENT) for part in parts]
            return lambda: _seen(values, found[name], f"{path}{name.removeprefix('_')}", read)

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
    if all(isinstance(value, Mapping) and list(value) == list(first) for value in values):
        found = {key: _differing([_item(value, key) for value in values]) for key in first}
        return {key: differs for key, differs in found.items() if differs}
    return len({_known(value) for value in values}) > 1


class _Unknown:
    """Stands for what a configuration has for one job alone, such as its directory."""


def _item(value: Any, key: Any) -> Any:
    try:
        return value[key]
    except Exception:  # it cannot be resolved outside of its job
        return _Unknown()


def _known(value: Any) -> Any:
    """A value as something to compare."""
    try:
        return value if isinstance(value, _Unknown) else plain(value)
    except Exception:  # likewise, of a part of it
        return _Unknown()


def _seen(values: Sequence[Any], differs: Any, path: str, read: dict[str, list[Any]]) -> Any:
    """What a step is given that reads the first of these values."""
    if differs is True:
        read[path] = [_known(value) for value in values]
        return values[0]
    return _View(values, differs, path, read)


class _View(Mapping[Any, Any]):
    """Settings by name, which notes what is read of those that differ."""

    __slots__ = ("_differs", "_path", "_read", "_values")

    def __init__(self, *given: Any) -> None:
        for name, value in zip(("_values", "_differs", "_path", "_read"), given, strict=True):
            object.__setattr__(self, name, value)

    def __getitem__(self, key: Any) -> Any:
        if key not in self._differs:
            return self._values[0][key]
        values = [_item(value, key) for value in self._values]
        return _seen(values, self._differs[key], f"{self._path}.{key}", self._read)

    def __getattr__(self, name: str) -> Any:
        return self[name] if name in self._differs else getattr(self._values[0], name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values[0])

    def __len__(self) -> int:
        return len(self._values[0])

    def __setattr__(self, name: str, value: Any) -> None:
        raise CannotStackError(f"changes self.{self._path}", AS_BUFFER)

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
