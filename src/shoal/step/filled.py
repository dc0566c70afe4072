"""What the steps of a module leave in it for the end of an epoch: items in lists, and what metrics are called with.

Both become tensors among those that a step logs, under names that say of which item they are a part; before the hooks
each run's module gets its own, in lists such as `self.validation_step_outputs` and by calls of its metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.step.metrics import Metrics, known
from shoal.step.taken import as_tensor
from shoal.step.unfit import CannotStackError

MARK = "\0filled"
"""Begins the names of such tensors."""
LATEST = f"{MARK}-"
"""Begins those of which the last step's alone count: their places are below zero."""


@dataclass
class Item:
    """How an item is made of its tensors."""

    attribute: str
    how: Literal["appended", "called", "set"]
    """Whether it is an item of a list, the arguments of a metric, or what an attribute is."""
    spec: Any
    leaves: list[Any]
    """What is neither a tensor nor a number of it; None in the place of each tensor."""


@dataclass(frozen=True)
class _Number:
    """Stands for a number."""

    fractional: bool


class Fills:
    """The items that the steps of a module append."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.metrics = Metrics(module)
        self.items: list[Item] = []
        self.hooked: frozenset[str] = frozenset()
        """Lists that hooks change between steps, at which no step may look."""

    @property
    def names(self) -> set[str]:
        """The lists that are filled."""
        return {item.attribute for item in self.items}

    @contextmanager
    def watched(self) -> Iterator[dict[str, Tensor]]:
        """The tensors that a step appends, by their names, known when the block ends."""
        own, found = vars(self.module), dict[str, Tensor]()
        # No lists of a class of the user's own, of which nobody knows what `append` does.
        kept = {name: value for name, value in own.items() if type(value) is list}
        watched = {name: _Watched(name, value, name in self.hooked) for name, value in kept.items()}
        own.update(watched)
        calls: list[tuple[str, Any]] = []
        try:
            with self.metrics.watched(lambda path, given: calls.append((path, given))):
                yield found
            for name in kept:
                # A list of the step's own making in its place is another attribute that it leaves.
                for value in watched[name].finished():
                    found |= self._named(name, value, len(found))
            for path, given in calls:
                found |= self._named(path, given, len(found), "called")
        finally:
            own.update({name: value for name, value in kept.items() if own.get(name) is watched[name]})

    def refill(self, module: nn.Module, steps: Sequence[Mapping[str, Tensor]], row: int) -> None:
        """Append to the lists of a run's module what it would have appended in these steps; it is in this row."""
        for logged in steps if self.items else ():
            parts: dict[tuple[int, int], dict[int, Tensor]] = {}
            for name, value in logged.items():
                if name.startswith(MARK):
                    place, item, leaf = map(int, name.removeprefix(MARK).split(":"))
                    parts.setdefault((place, item), {})[leaf] = value[row]
            for (_, item), tensors in parts.items():
                made = self.items[item]
                leaves = [_made(leaf, tensors.get(place)) for place, leaf in enumerate(made.leaves)]
                whole = pytree.tree_unflatten(leaves, made.spec)
                path, _, name = made.attribute.rpartition(".")
                part = module.get_submodule(path)
                if made.how == "called":
                    getattr(part, name)(*whole[0], **whole[1])
                elif made.how == "set":
                    setattr(part, name, whole)
                else:
                    vars(part)[name].append(whole)

    def latest(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors in what a step has set these attributes to, by their names."""
        found: dict[str, Tensor] = {}
        for number, (attribute, value) in enumerate(values.items()):
            found |= self._named(attribute, value, -1 - number, "set")
        return found

    def _named(
        self, attribute: str, value: Any, place: int, how: Literal["appended", "called", "set"] = "appended"
    ) -> dict[str, Tensor]:
        leaves, spec = pytree.tree_flatten(pytree.tree_map(known, value))
        if any(_holds_tensor(leaf) for leaf in leaves):
            raise CannotStackError(
                f"keeps an object with tensors in self.{attribute}", "in a dictionary they can be kept"
            )
        # Numbers too: of each run, or at each time, it may be another one.
        given = [leaf if isinstance(leaf, Tensor) else as_tensor(leaf) for leaf in leaves]
        rest = [
            leaf if own is None else None if isinstance(leaf, Tensor) else _Number(own.is_floating_point())
            for leaf, own in zip(leaves, given, strict=True)
        ]
        item = Item(attribute, how, spec, rest)
        if item not in self.items:
            self.items.append(item)
        begin = f"{MARK}{place}:{self.items.index(item)}:"
        tensors = {number: leaf.detach() for number, leaf in enumerate(given) if leaf is not None}
        # Tensors are all that comes out of a mapped step: an item without any needs one to be told of.
        return {f"{begin}{number}": leaf for number, leaf in (tensors or {-1: torch.zeros(())}).items()}


def _made(leaf: Any, tensor: Tensor | None) -> Any:
    """What there was in a place: a tensor, a number, or what is neither."""
    if tensor is None:
        return leaf
    return tensor if leaf is None else float(tensor) if leaf.fractional else int(tensor)


def _holds_tensor(leaf: Any) -> bool:
    """Whether it is an object that no item could be made of again."""
    own = {} if isinstance(leaf, Tensor) else getattr(leaf, "__dict__", {})
    return any(isinstance(each, Tensor) for each in own.values())


class _Watched(list[Any]):
    """A list while a step runs: what the step appends is kept apart, and it may not read what it fills."""

    def __init__(self, name: str, items: list[Any], hooked: bool) -> None:
        super().__init__(items)
        self._name = name
        self._appended: list[Any] = []
        self._read = False
        self._hooked = hooked

    def append(self, item: Any) -> None:
        self._appended.append(item)

    def extend(self, items: Any) -> None:
        self._appended.extend(items)

    def finished(self) -> list[Any]:
        """What was appended."""
        if self._read and (self._appended or self._hooked):
            raise CannotStackError(
                f"looks at self.{self._name}, which {'a hook changes' if self._hooked else 'it fills'}",
                "a hook of the epoch's end may look at it, and a step at a buffer",
            )
        return self._appended

    def __iter__(self) -> Iterator[Any]:
        self._read = True
        return super().__iter__()

    def __len__(self) -> int:
        self._read = True
        return super().__len__()

    def __getitem__(self, place: Any) -> Any:
        self._read = True
        return super().__getitem__(place)

    def _changes(self, *_: Any) -> NoReturn:
        raise CannotStackError(
            f"changes self.{self._name} otherwise than by append", "a hook of the epoch's end can clear it"
        )

    clear = pop = insert = remove = sort = reverse = __setitem__ = __delitem__ = __iadd__ = _changes  # type: ignore[assignment]
