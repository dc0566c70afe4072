"""What lies outside of a module where its steps can reach it: files of the program, classes, and all objects there."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric

from shoal.step.attributes import PLAIN
from shoal.step.held import CONTAINERS, UNSHOWN, inside, is_own, leaf, named, undoing
from shoal.step.silenced import UPSTREAM

_LONGEST = 1000
"""Items of a container that is looked into."""
_MOST = 3000
"""Objects that are looked at."""
_PLAIN = frozenset(PLAIN)
_CONTAINERS = (*CONTAINERS, dict)
_MODULES = "builtins itertools types argparse queue csv collections functools weakref _thread"
_HOLDING = frozenset(_MODULES.split())
"""Modules of Python's whose objects hold what programs put there."""


@dataclass(frozen=True)
class Inside:
    """Objects that are looked at elsewhere, and their classes, from which a program is looked at."""

    own: Mapping[int, Any]
    """By their identities."""
    classes: Iterable[type]

    @classmethod
    def of(cls, owners: Iterable[Any]) -> Inside:
        """That of modules with their parts, and of other objects."""
        own = [part for each in owners for part in (each.modules() if isinstance(each, nn.Module) else [each])]
        # In the order of the objects: by how something is reached first, it is called.
        return cls({id(each): each for each in own}, [*dict.fromkeys(map(type, own))])


class Reach:
    """Everything that the steps of a module can reach outside of it, as it is when this is made."""

    def __init__(self, inside: nn.Module | Inside, *, keeps: bool = False) -> None:
        """`keeps` says to remember how to put it back."""
        inside = Inside.of([inside]) if isinstance(inside, nn.Module) else inside
        self.held: dict[str, Any] = {}
        """By how a program reaches it: what it holds, or how many items."""
        self.owners: list[tuple[str, Any]] = []
        """The objects whose attributes are looked at."""
        self._keeps = keeps
        self._undoings: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = dict(inside.own)
        self._files = {each.__module__ for each in inside.classes}
        self._homes = {each.partition(".")[0] for each in self._files} - {*UPSTREAM}
        self._found = deque[tuple[str, Any]](_classes(inside.classes))
        while self._found and len(self._seen) < _MOST:
            self._look(*self._found.popleft())

    def changed(self, now: Reach) -> Iterator[str]:
        """What held something else before; not what has been made since."""
        for path, value in self.held.items():
            if path not in now.held or now.held[path] != value:
                yield path

    def grown(self, now: Reach) -> Iterator[str]:
        """What was not there before."""
        return (path for path in now.held if path not in self.held)

    def grows(self, path: str) -> bool:
        """Whether it is the number of items that is compared there."""
        return type(self.held.get(path)) is tuple and issubclass(self.held[path][0], _CONTAINERS)

    def put_back(self) -> None:
        """Let all of it hold what it held."""
        for undo in self._undoings:
            undo()

    def _look(self, path: str, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            # NaN is equal to itself then.
            self.held[path] = kind, value if value == value else "nan"
            return
        if kind is FunctionType:
            self.held[path] = kind, value  # another one may be put in its place
        # A program has hundreds of functions, and next to none keeps anything.
        if id(value) in self._seen or (kind is FunctionType and not _may_keep(value)):
            return
        self._seen[id(value)] = value  # kept, so that no other object takes its number
        content = leaf(value)
        if content is not None:
            self.held[path] = kind, id(value) if isinstance(value, Tensor) else None, content
        elif isinstance(value, _CONTAINERS):
            # A dictionary that grows keeps what was made for a new key.
            self.held[path] = kind, None if isinstance(value, dict) else len(value)
            if len(value) <= _LONGEST:
                self._found += [(path + name, each) for name, each in inside(value)]
        else:
            self.held.setdefault(path, kind)
            if not self._is_looked_into(value):
                return
            self._look_into(path, value)
        if self._keeps and not _is_in_iterator(path) and (undo := undoing(value)):
            self._undoings.append(undo)

    def _look_into(self, path: str, value: Any) -> None:
        if not isinstance(value, FunctionType):  # whose attributes come with what else it keeps
            self.owners.append((path, value))
            own = {name: each for name, each in named(value).items() if name[:2] != "__"}
            self._found += [(f"{path}.{name}", each) for name, each in own.items()]
            if self._keeps:
                self._undoings.append(partial(_let_be, value, own))
        if not isinstance(value, type | ModuleType):
            self._found += [(path + name, each) for name, each in inside(value)]

    def _is_looked_into(self, value: Any) -> bool:
        if isinstance(value, ModuleType):
            return value.__name__ in self._files or is_own(value.__name__)
        if isinstance(value, type | FunctionType):
            return self._is_own(value.__module__ or "")
        if isinstance(value, nn.Module):
            return not isinstance(value, Metric)
        home = type(value).__module__
        return home in _HOLDING or self._is_own(home)

    def _is_own(self, home: str) -> bool:
        return home.partition(".")[0] in self._homes or is_own(home)


def _is_in_iterator(path: str) -> bool:
    """Whether something is part of an iterator or a generator: put back without its position, that would be broken."""
    return UNSHOWN in path.replace(f"(){UNSHOWN}", "")


def _may_keep(function: FunctionType) -> bool:
    return bool(
        function.__defaults__ or function.__closure__ or function.__kwdefaults__ or getattr(function, "__dict__", None)
    )


def _classes(classes: Iterable[type]) -> Iterator[tuple[str, Any]]:
    """These and what they are made from, and the files that they are in, by what each is called."""
    seen = set[Any]()
    for each in classes:
        for cls in each.__mro__:
            home = cls.__module__
            if cls in seen or home.partition(".")[0] in UPSTREAM:
                continue
            seen |= {cls}
            yield cls.__qualname__, cls
            if home not in seen and home in sys.modules:
                seen.add(home)
                yield home, sys.modules[home]


def _let_be(holder: Any, before: Mapping[str, Any]) -> None:
    """Put attributes back that are others now."""
    now = {name: each for name, each in named(holder).items() if name[:2] != "__"}
    for name in now.keys() - before.keys():
        delattr(holder, name)
    for name, value in before.items():
        if name not in now or now[name] is not value:
            setattr(holder, name, value)
