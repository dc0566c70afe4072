"""How this process computes while a stack trains: one thread, numbers too small for their type taken as zero.

Two threads in a process are slower on small models, and where they share out the work depends on the size of the stack.
Numbers below the smallest normal one come from running means of weights that are never used, and slow kernels tenfold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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


def _flushes() -> bool:
    return float(torch.tensor(1e-40) * 1.0) == 0.0
