"""Randomness as a pure function of (seed, stream, position): one generator per use, never the global one.

A stream is what the numbers are for (data, initialisation, order, ...); a position is where in the training they are
needed (an epoch, a step). The same arguments give the same numbers whatever ran before, so a run can be stopped,
resumed, moved to another place in a sweep or trained in a stack without one of them changing.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy, Python and torch all take."""
_MULTIPLIERS = (-49064778989728563, -4265267296055464877)
"""Of the 64-bit finaliser of MurmurHash3 (Appleby), as signed integers."""


class Stream(StrEnum):
    """What random numbers are for."""

    DATA = "data"
    SPLIT = "split"
    TEST = "test"
    INITIALISATION = "initialisation"
    ORDER = "order"
    DROPOUT = "dropout"
    STEP = "step"
    """What the steps of a stack's runs draw."""
    BOOTSTRAP = "bootstrap"
    USER = "user"
    """The global generators, for code of the user's that draws from them."""


def derived(seed: int, stream: Stream, *position: int) -> int:
    """A 63-bit seed for `stream` at `position`: a hash, so that neighbouring seeds share nothing.

    The data stream of seed s is s itself: a data set drawn after `torch.manual_seed(s)` in a notebook is drawn here
    with the same numbers.
    """
    if stream is Stream.DATA and not position:
        return seed
    text = ":".join([str(seed), stream, *map(str, position)])
    # A digest: Python's hash of a text is another one in each process. One bit less, to fit into a tensor of int64.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """A CPU generator at the start of `stream` at `position`."""
    return torch.Generator().manual_seed(derived(seed, stream, *position))


def permutation(seed: int, n: int) -> Int[Tensor, " n"]:
    """The first `n` whole numbers in the order that torch draws with a generator of this seed."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def hashed(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """The finaliser of MurmurHash3: every bit of the result depends on every bit of the int64 `value`."""
    for multiplier in _MULTIPLIERS:
        # int64 shifts copies of its sign in: the mask makes of it the shift of the unsigned number.
        value = (value ^ (value >> 33 & (2**31 - 1))) * multiplier
    return value ^ (value >> 33 & (2**31 - 1))


def seed_global(seed: int, *position: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, for code of the user's that draws from them."""
    import numpy

    value = derived(seed, Stream.USER, *position)
    random.seed(value)
    numpy.random.seed(value & MAX_SEED)
    # Not torch.manual_seed: it notes a stack trace for every device that has not begun, a millisecond each time.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(value)


@contextmanager
def global_generator(seed: int, stream: Stream, *position: int) -> Iterator[None]:
    """Run code that draws from global generators on a stream of its own, and leave no trace there."""
    import numpy

    with generators_restored():
        value = derived(seed, stream, *position)
        random.seed(value)
        numpy.random.seed(value & MAX_SEED)
        # Those of devices too: one that has not begun is seeded as it begins, and has no state to be put back.
        torch.manual_seed(value)
        yield


@contextmanager
def generators_restored() -> Iterator[None]:
    """Put the global random generators back afterwards."""
    states = global_states()
    try:
        yield
    finally:
        set_global_states(states)


def global_states() -> tuple[Any, Any, Tensor, Any]:
    """Where Python's, NumPy's and torch's global generators are, that of each GPU among them."""
    import numpy

    # Not asked of GPUs that have not begun: that would begin them, in processes that do not use them.
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), devices


def set_global_states(states: tuple[Any, Any, Tensor, Any]) -> None:
    """Put the global generators back where they were."""
    import numpy

    random.setstate(states[0])
    numpy.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if states[3]:
        torch.cuda.set_rng_state_all(states[3])


def drawn_so_far() -> str:
    """A text that is the same as long as nothing is drawn from the global generators."""
    import numpy

    numbers: Any = numpy.random.get_state()
    # NumPy's keys and the place among them: a text has the ends of the keys alone, but the place moves with each draw.
    return f"{random.getstate()} {numbers[1:3]} {torch.get_rng_state().tolist()}"


def torch_state() -> torch.Tensor:
    """Where torch's global generator is."""
    return torch.get_rng_state()


def continue_torch(state: torch.Tensor) -> None:
    """Let torch's global generator go on from there."""
    torch.set_rng_state(state)
