"""How this process computes while a stack trains: one thread, numbers too small for their type taken as zero.

Two threads in a process are slower on small models, and where they share out the work depends on the size of the stack.
Numbers below the smallest normal one come from running means of weights that are never used, and slow kernels tenfold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

REPRODUCIBLE_DOUBLES = {"MKL_CBWR": "AVX2"}
"""Environment that must stand before torch is loaded for float64 stacks to be the same to the bit at every size."""


@contextmanager
def steady() -> Iterator[None]:
    """One thread, and denormal numbers flushed to zero; as before afterwards."""
    threads, flushed = torch.get_num_threads(), _flushes()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def doubles_are_reproducible() -> bool:
    """Whether a float64 run is the same to the bit in stacks of every size; float32 always is."""
    return all(os.environ.get(name) == value for name, value in REPRODUCIBLE_DOUBLES.items())


def _flushes() -> bool:
    return float(torch.tensor(1e-40) * 1.0) == 0.0
