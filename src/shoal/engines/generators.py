"""The random generators that data loaders hold: each epoch finds them where a function of the epoch puts them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shoal.seeding import MAX_SEED, Stream, derived
from shoal.tasks import Task

SEARCHED = 2000
"""Objects that are looked at: a loader, its samplers, its data set, its transforms and what those hold."""
Generator = torch.Generator | numpy.random.Generator | numpy.random.RandomState | random.Random
_NOT_SEARCHED = (
    *(Tensor, numpy.ndarray, nn.Module, pl.Trainer, Task, ModuleType, type, str, bytes, int, float),
    *(torch.Generator, numpy.random.Generator, numpy.random.RandomState, random.Random),
)


class OwnGenerators:
    """The generators that some data loaders hold: a function of the epoch, as with Lightning."""

    def __init__(
        self,
        loaders: Iterable[Any],
        seed: int = 0,
        *,
        but: OwnGenerators | None = None,
        before: OwnGenerators | None = None,
    ) -> None:
        """`seed` is the run's; `but` are those of other loaders, which stay where these leave them.

        `before` has looked after some of them already, and knows what they were seeded with.
        """
        others: list[Generator] = [] if but is None else but.known
        self.found: list[Generator] = [each for each in held_by(loaders) if not any(each is other for other in others)]
        self.known: list[Generator] = [*others, *self.found]
        """These, and those that others look after."""
        self._first = self.states()
        # Those of NumPy and Python do not say what they were seeded with.
        known = {} if before is None else dict(zip(map(id, before.found), before._seeds, strict=True))
        self._seeds: list[int] = [
            known[id(each)]
            if id(each) in known
            else each.initial_seed()
            if isinstance(each, torch.Generator)
            else derived(seed, Stream.ORDER, 0, place)
            for place, each in enumerate(self.found)
        ]

    def begin(self, number: int) -> None:
        """Put them where this epoch begins."""
        if not number:
            # Lightning too begins where the user has put them.
            self.set(self._first)
            return
        for each, seed in zip(self.found, self._seeds, strict=True):
            _reseed(each, derived(seed, Stream.ORDER, number))

    def states(self) -> list[Any]:
        """Where they are."""
        return [_state(each) for each in self.found]

    def set(self, states: Iterable[Any]) -> None:
        """Put them back where they were."""
        for each, state in zip(self.found, states, strict=True):
            _put(each, state)


def held_by(things: Iterable[Any]) -> Iterator[Generator]:
    """The generators within these objects, those of all programs left out."""
    shared = {id(torch.default_generator), id(numpy.random.mtrand._rand), id(getattr(random, "_inst", None))}
    for each in _within(things):
        if isinstance(each, Generator) and id(each) not in shared:
            yield each


def module_in(things: Iterable[Any]) -> pl.LightningModule | None:
    """A LightningModule that these objects hold."""
    return next((each for each in _within(things) if isinstance(each, pl.LightningModule)), None)


def _within(things: Iterable[Any]) -> Iterator[Any]:
    """These objects and what they hold, as far as it is searched."""
    seen: dict[int, Any] = {}
    left = deque(things)
    while left and len(seen) < SEARCHED:
        each = left.popleft()
        if id(each) not in seen:
            # The object is kept: the id of one that is gone may be given again.
            seen[id(each)] = each
            yield each
            left.extend(() if isinstance(each, _NOT_SEARCHED) else _parts(each))


def _parts(each: Any) -> Iterator[Any]:
    if isinstance(each, Mapping):
        yield from each.values()
    elif isinstance(each, list | tuple | set):
        yield from each
    elif isinstance(each, partial):
        yield from (each.func, *each.args, *each.keywords.values())
    elif isinstance(each, MethodType):
        yield each.__self__
    elif isinstance(each, FunctionType):
        yield from (cell.cell_contents for cell in each.__closure__ or () if _is_filled(cell))
    else:
        yield from getattr(each, "__dict__", {}).values()


def _is_filled(cell: Any) -> bool:
    try:
        return bool(cell.cell_contents is not None)
    except ValueError:  # of a name that its function has not set yet
        return False


def _state(generator: Generator) -> Any:
    return _of_kind(generator)[0]()


def _put(generator: Generator, state: Any) -> None:
    _of_kind(generator)[1](state)


def _reseed(generator: Generator, seed: int) -> None:
    _of_kind(generator)[2](seed)


def _of_kind(generator: Any) -> tuple[Callable[[], Any], Callable[[Any], Any], Callable[[int], Any]]:
    """How its state is had, how it is put there, and how it is seeded."""
    if isinstance(generator, torch.Generator):
        return generator.get_state, generator.set_state, generator.manual_seed
    if isinstance(generator, random.Random):
        return generator.getstate, generator.setstate, generator.seed
    if isinstance(generator, numpy.random.RandomState):
        return generator.get_state, generator.set_state, lambda seed: generator.seed(seed & MAX_SEED)
    bits = generator.bit_generator

    def put(state: Any) -> None:
        bits.state = state

    # NumPy's newer generators cannot be seeded again: the state is that of one that is made with the seed.
    return lambda: bits.state, put, lambda seed: put(type(bits)(seed).state)
