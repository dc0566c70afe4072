"""The orders of many runs' samples: those of `torch.randperm`, which takes four times as long for them one by one."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from shoal.seeding import permutation
from shoal.step.compiled.library import CannotCompileError, Library

PAYS = 1 << 22
"""Numbers drawn by torch after which a process begins to compile: the compiler takes as long as drawing them did."""
LONGEST = 2**32 // 20
"""Numbers of the shortest order for which torch draws otherwise."""


class Permutations:
    """Draws orders, by a function in C once that pays and for as long as its numbers are torch's."""

    def __init__(self, pays: int = PAYS) -> None:
        self._left = pays
        self._agrees: dict[int, bool] = {}
        """Whether the function has drawn torch's orders, by their length."""
        self._failed = False

    def __call__(self, seeds: Sequence[int], n: int) -> Int[Tensor, "runs n"]:
        """For each seed the order that torch draws with a generator that begins with it."""
        if not self._agrees.get(n, True) or not self._ready(len(seeds) * n) or n >= LONGEST:
            return by_torch(seeds, n)
        found = self._compiled(seeds, n)
        if n not in self._agrees:
            self._agrees[n] = torch.equal(found, expected := by_torch(seeds, n))
            return expected
        return found

    def _ready(self, more: int) -> bool:
        """Whether there is the function, with so many numbers more to draw."""
        self._left -= more
        if self._failed or self._left > 0:
            return False
        try:
            # The function itself, too: what was compiled may be gone, or have been another process's to finish.
            return self._library.ready() and bool(self._function)
        except CannotCompileError:
            self._failed = True
            return False

    @cached_property
    def _library(self) -> Library:
        return Library(Path(__file__).with_suffix(".c").read_text(encoding="utf-8"))

    @cached_property
    def _function(self) -> Any:
        return self._library.functions().permutations

    def _compiled(self, seeds: Sequence[int], n: int) -> Tensor:
        given, found = torch.tensor(seeds, dtype=torch.int64), torch.empty(len(seeds), n, dtype=torch.int64)
        sizes = ctypes.c_long(len(seeds)), ctypes.c_long(n)
        self._function(ctypes.c_void_p(given.data_ptr()), *sizes, ctypes.c_void_p(found.data_ptr()))
        return found


def by_torch(seeds: Sequence[int], n: int) -> Int[Tensor, "runs n"]:
    """The same, one after the other."""
    return torch.stack([permutation(seed, n) for seed in seeds])


permutations = Permutations()
"""Of this process."""
