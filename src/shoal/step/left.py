"""What the steps of a module leave on it and its parts beside weights and buffers, where that is no state.

Scratch is set by each step before the step looks at it, as statistics that a layer takes of its input to undo its own
normalization. A constant is made once and comes to the same whatever it is made from, as a mask that the first forward
keeps. In a stack every step finds the module as it was before the training; alone it finds what the step before has
left: for these two that comes to the same.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from operator import is_
from typing import Any, NoReturn

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from shoal.step.attributes import PLAIN, SEARCHED, WHOLE, Attributes
from shoal.step.held import undoing
from shoal.step.silenced import UPSTREAM
from shoal.step.unfit import AS_BUFFER, CannotStackError

Place = tuple[str, str]
"""The path of a part of a module, and the name of an attribute of it."""
_NOT_SEARCHED = (*WHOLE, Tensor)
_HOLDING_NOTHING = frozenset(PLAIN)
"""Most attributes are of these types, and hold no other object."""
_MISSING = object()
WHOLE_OF_IT = "__dict__"
"""The name of all attributes of a part, where whoever looks at them there is to be told, too."""
_DICTIONARY = vars(nn.Module)["__dict__"]
_UNSET = "_unset"
"""The name under which a part has, while it is watched, whom to tell of each attribute that is not set yet."""


@dataclass
class Left:
    """What is known of what the steps of a module leave."""

    scratch: set[Place] = field(default_factory=set)
    constants: dict[Place, Any] = field(default_factory=dict)
    """Each with what it came to, by the shapes of a batch."""
    told: set[Place] = field(default_factory=set)
    """Those of both that hooks look at: each run's module has them after its steps."""
    visible: bool = False
    """Whether code that the engine does not know looks at the modules after their steps: then nothing may be left."""
    settled: bool = False
    """Whether the steps have been looked at: what they leave from then on, as in a later epoch, is refused."""

    def plain(self) -> dict[str, list[Place]]:
        """The attributes alone, for a file."""
        return {"scratch": sorted(self.scratch), "constants": sorted(self.constants), "told": sorted(self.told)}

    def load(self, plain: Mapping[str, Iterable[Iterable[str]]]) -> None:
        """Know what was written: the steps go on after it, and are not looked at again."""
        places = {kind: [(path, name) for path, name in each] for kind, each in plain.items()}
        self.scratch, self.constants = set(places["scratch"]), {place: {} for place in places["constants"]}
        self.told = set(places["told"])
        self.settled = True

    @property
    def untold(self) -> frozenset[Place]:
        """What the module of a run does not have after its steps."""
        return frozenset([*self.scratch, *self.constants]) - self.told

    @contextmanager
    def behind(self, module: nn.Module) -> Iterator[Callable[[], dict[str, Any]]]:
        """A step of the module: what it leaves is gone afterwards, and scratch of another step is not there for it.

        What is yielded gives what it has left for hooks.

        Raises:
            CannotStackError: where it looks at scratch, or leaves what is not known though the steps were looked at.
        """
        attributes = Attributes(module) if self.settled or self.visible else None
        if attributes:
            attributes.note()
        with as_before(module, self.constants):
            with watched(module, self.scratch, refuse):
                yield self.telling(module)
            left = (place for place, _ in attributes.differing()) if attributes else ()
            new = next((place for place in left if place not in self.scratch and place not in self.constants), None)
        if new:
            raise CannotStackError(f"changes {shown(new)}", AS_BUFFER)

    def noticing(self, module: nn.Module) -> AbstractContextManager[None]:
        """Behind the gradient of a step of the module: who tries a step overrides it."""
        del module
        return nullcontext()

    def telling(self, module: nn.Module) -> Callable[[], dict[str, Any]]:
        """Gives, by their names, those that hooks look at and a step has set since this was called."""
        before = {place: value_of(module, place) for place in sorted(self.told)}

        def told() -> dict[str, Any]:
            now = {place: value_of(module, place) for place in before}
            return {".".join(filter(None, place)): now[place] for place in now if now[place] is not before[place]}

        return told


def shown(place: Place) -> str:
    """An attribute as a step writes it."""
    return ".".join(["self", *filter(None, place)])


def value_of(module: nn.Module, place: Place) -> Any:
    """An attribute of a part of the module, or a buffer; `_MISSING` where it is not there."""
    path, name = place
    part = module.get_submodule(path)
    return (part._buffers if name in part._buffers else vars(part)).get(name, _MISSING)


def refuse(place: Place) -> NoReturn:
    """Called where something looks at what steps leave.

    Raises:
        CannotStackError: in any case.
    """
    raise CannotStackError(f"looks at {shown(place)}, which an earlier step has set", AS_BUFFER)


@contextmanager
def as_before(module: nn.Module, places: Iterable[Place] | None = None) -> Iterator[None]:
    """Let a module and its parts have the attributes afterwards that they had before.

    What containers and other objects hold is put back for `places` alone; for all attributes where none are given.
    """
    parts = {path: part for path, part in module.named_modules() if not isinstance(part, Metric | MetricCollection)}
    before = [(part, dict(vars(part)), dict(part._buffers)) for part in parts.values()]
    made = [(each, dict(each)) for part in parts.values() for each in (part._parameters, part._modules)]
    if places is None:
        held = [value for part in parts.values() for value in vars(part).values()]
    else:
        held = [vars(parts[path]).get(name) for path, name in places]
    undoings = list(_undoings(held))
    try:
        yield
    finally:
        for undo in undoings:
            undo()
        for registered, those in made:
            _let_be(registered, those)
        for part, own, buffers in before:
            _let_be(vars(part), own)
            # Of those that were there, `functional_call` has put back its own already.
            _let_be(
                part._buffers, {n: part._buffers.get(n) if each is not None else None for n, each in buffers.items()}
            )


def _let_be(found: dict[Any, Any], own: dict[Any, Any]) -> None:
    # By functions in C: a module of a few layers has a hundred dictionaries, and most are empty.
    if found.keys() != own.keys() or not all(map(is_, map(found.__getitem__, own), own.values())):
        found.clear()
        found.update(own)


def _undoings(values: list[Any]) -> Iterator[Callable[[], None]]:
    """What puts the items of each container and object among these values back, and of those in them."""
    seen: dict[int, Any] = {}
    while values and len(seen) < SEARCHED:
        value = values.pop()
        if type(value) in _HOLDING_NOTHING or id(value) in seen or isinstance(value, _NOT_SEARCHED):
            continue
        if isinstance(value, dict):
            items = dict(value)
            yield partial(_let_be, value, items)
            values += items.values()
        elif isinstance(value, list | set | deque):
            yield partial(_refill, value, list(value))
            values += value
        elif hasattr(value, "__dict__"):
            values.append(vars(value))
        elif (undo := undoing(value)) is not None:
            yield undo
        # Kept, so that no other object takes its number.
        seen[id(value)] = value


def _refill(container: Any, items: list[Any]) -> None:
    if len(container) != len(items) or not all(map(is_, container, items)):
        container.clear()
        for item in items:
            (container.add if isinstance(container, set) else container.append)(item)


@contextmanager
def watched(module: nn.Module, places: Iterable[Place], looked: Callable[[Place], Any]) -> Iterator[None]:
    """Have `looked` called where one of these attributes is looked at before it is set."""
    names: dict[str, set[str]] = {}
    for path, name in places:
        names.setdefault(path, set()).add(name)
    with ExitStack() as stack:
        for path, own in names.items():
            stack.enter_context(_watched(module.get_submodule(path), path, frozenset(own), looked))
        yield


@contextmanager
def _watched(part: Any, path: str, names: frozenset[str], looked: Callable[[Place], Any]) -> Iterator[None]:
    cls = part.__class__
    part.__class__ = _watching(cls, names)
    vars(part)[_UNSET] = {name: partial(looked, (path, name)) for name in names}
    try:
        yield
    finally:
        part.__class__ = cls
        del vars(part)[_UNSET]


@cache
def _watching(cls: type[nn.Module], names: frozenset[str]) -> type[nn.Module]:
    # No base in front: an instance of a class whose first base is an ABC could not be given a class of two bases.
    whole = {WHOLE_OF_IT: property(_whole)} if WHOLE_OF_IT in names else {}
    found = type(cls.__name__, (cls,), {"__module__": cls.__module__, **whole})
    for name in names - {WHOLE_OF_IT}:
        setattr(found, name, _watched_attribute(found, name))
    return found


def _whole(self: Any) -> Any:
    """All attributes at once, as `vars(self)` and copies take them; torch and Lightning look up single ones there."""
    own = _DICTIONARY.__get__(self)
    if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] not in UPSTREAM:
        own[_UNSET][WHOLE_OF_IT]()
    return own


def _watched_attribute(cls: type[nn.Module], name: str) -> property:
    def read(self: Any) -> Any:
        own = vars(self)
        if name in own[_UNSET]:
            own[_UNSET][name]()
        # Not there, it may be the class's own, or a buffer; where it is none, Python asks `nn.Module.__getattr__`.
        return own[name] if name in own else getattr(super(cls, self), name)

    def write(self: Any, value: Any) -> None:
        vars(self)[_UNSET].pop(name, None)
        vars(self)[name] = value

    def delete(self: Any) -> None:
        vars(self)[_UNSET].pop(name, None)
        del vars(self)[name]

    return property(read, write, delete)
