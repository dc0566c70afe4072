"""Random numbers that are arithmetic on a key: no generator stands behind them, so a mapping over runs maps them too.

Each call of a step has a place of its own. A number's bits are those of its position in the tensor, hashed with the
key and the place by xor, shifts and products of 32-bit words, which no processor rounds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from shoal.seeding import Stream, derived

FIRST, SECOND = 0x7FEB352D, -2073254261
"""The multipliers of lowbias32 (Wellons, Prospecting for Hash Functions, 2018), as int32."""
SPAN = 2**32


class NotDrawnError(Exception):
    """Random numbers of a kind that there is not here."""


class RandomNumbers(ABC):
    """The random numbers of one step of one run, whoever makes them."""

    @property
    @abstractmethod
    def own(self) -> Tensor:
        """Some number that the run has of its own, in a mapping over runs."""

    @abstractmethod
    def uniform(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Uniform over [0, 1)."""

    @abstractmethod
    def inner(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Uniform over (0, 1)."""

    @abstractmethod
    def normal(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Standard normal numbers."""

    @abstractmethod
    def exponential(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Exponential numbers of mean 1."""

    @abstractmethod
    def happens(self, probability: float, shape: list[int]) -> Bool[Tensor, "*shape"]:
        """Whether something of this probability happens."""

    @abstractmethod
    def whole(self, low: int, high: int, shape: list[int]) -> Int[Tensor, "*shape"]:
        """Whole numbers from `low` to below `high`, as int64."""

    @abstractmethod
    def order(self, n: int) -> Int[Tensor, " n"]:
        """The numbers from 0 to below `n` in random order."""

    def finish(self) -> None:  # noqa: B027  (most have nothing left over)
        """The step is over."""


@final
class Draws(RandomNumbers):
    """Those that are a key's."""

    def __init__(self, key: Int[Tensor, " 2"]) -> None:
        self.key = key
        self._place = 0

    @property
    def own(self) -> Tensor:
        return self.key[0]

    def words(self, n: int) -> Int[Tensor, " n"]:
        """`n` words of 32 random bits each, the first bits of the best quality, at the next place of the step."""
        place = derived(self._place, Stream.STEP)
        self._place += 1
        first, second = (self.key[i] ^ _signed(place >> (31 * i)) for i in range(2))
        positions = _mixed(torch.arange(n, dtype=torch.int32, device=self.key.device))
        return _mixed(positions ^ first, second)

    def uniform(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Uniform over [0, 1), all bits of the type's precision random."""
        n = math.prod(shape)
        if dtype is torch.float64:
            # Words are signed and begin at minus a half of their span: 0.5 and 2**-33 move both parts to begin at zero.
            high, low = self.words(n).double() * 2**-32, (self.words(n) >> 11).double() * 2**-53
            return (high + low + (0.5 + 2**-33)).view(shape)
        return ((self.words(n) >> 8).to(_single(dtype)) * 2**-24 + 0.5).view(shape)

    def inner(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Uniform over (0, 1): the middles of equal parts, so that there is a logarithm of it and of 1 minus it."""
        n = math.prod(shape)
        if dtype is torch.float64:
            high, low = self.words(n).double() * 2**-32, (self.words(n) >> 12).double() * 2**-52
            return (high + low + (0.5 + 2**-33 + 2**-53)).view(shape)
        # 23 bits and not 24: the half that makes it a middle takes the last.
        return (((self.words(n) >> 9).to(_single(dtype)) + 0.5) * 2**-23 + 0.5).view(shape)

    def normal(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Standard normal numbers, by Box and Muller (A Note on the Generation of Random Normal Deviates, 1958)."""
        n = math.prod(shape)
        half = [(n + 1) // 2]
        radius = (self.inner(half, dtype).log() * -2).sqrt()
        angle = self.uniform(half, dtype) * (2 * math.pi)
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:n].view(shape)

    def exponential(self, shape: list[int], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Exponential numbers of mean 1, none of them zero."""
        return -self.inner(shape, dtype).log()

    def happens(self, probability: float, shape: list[int]) -> Bool[Tensor, "*shape"]:
        """Whether something of this probability happens, to 32 bits."""
        limit = round(probability * SPAN) - SPAN // 2
        words = self.words(math.prod(shape)).view(shape)
        # A probability of 1 has a limit that no int32 holds.
        return words < limit if limit < SPAN // 2 else torch.ones_like(words, dtype=torch.bool)

    def whole(self, low: int, high: int, shape: list[int]) -> Int[Tensor, "*shape"]:
        """Whole numbers from `low` to below `high`, as int64."""
        n = math.prod(shape)
        if not 0 < high - low < 2**62:
            raise NotDrawnError
        return (self._long(n) % (high - low) + low).view(shape)

    def order(self, n: int) -> Int[Tensor, " n"]:
        """The numbers from 0 to below `n` in random order."""
        return torch.argsort(self._long(n))

    def _long(self, n: int) -> Int[Tensor, " n"]:
        """Words of 63 random bits."""
        high, low = self.words(n).long(), self.words(n).long()
        return (high & (2**31 - 1)) << 32 | (low & (2**32 - 1))


def _mixed(words: Int[Tensor, " n"], beside: Tensor | None = None) -> Int[Tensor, " n"]:
    """A bijection of 32-bit words by which the first bits come to depend on all bits; another for each `beside`."""
    # Shifts of signed words draw the sign after them; the masks take it away again.
    words = (words ^ (words >> 16 & 0xFFFF)) * FIRST
    if beside is not None:
        words = words ^ beside
    words = (words ^ (words >> 15 & 0x1FFFF)) * SECOND
    return words ^ (words >> 16 & 0xFFFF)


def _signed(word: int) -> int:
    """The last 32 bits of a number as an int32."""
    return (word + SPAN // 2) % SPAN - SPAN // 2


def _single(dtype: torch.dtype) -> torch.dtype:
    if dtype is not torch.float32:
        raise NotDrawnError
    return dtype
