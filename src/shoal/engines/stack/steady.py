"""How this process computes while a stack trains: one thread, numbers too small for their type taken as zero.

Two threads in a process are slower on small models, and where they share out the work depends on the size of the stack.
Numbers below the smallest normal one come from running means of weights that are never used, and slow kernels tenfold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from shoal.errors import warn
from shoal.instructions import MKL, REPEATABLE, in_use


@contextmanager
def steady() -> Iterator[None]:
    """One thread, and denormal numbers flushed to zero; as before afterwards."""
    _tell_of_mkl()
    threads, flushed = torch.get_num_threads(), _flushes()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


@cache
def _tell_of_mkl() -> None:
    """Say once where MKL may compute by the size of a stack: it was at work before shoal could set it."""
    if in_use()["mkl"] == "OFF":
        warn(
            f"MKL computes without {MKL}, so a run's bits may depend on the size of its stack: "
            f"import shoal before torch computes, or set {MKL}={REPEATABLE}"
        )


def _flushes() -> bool:
    # torch can set it and cannot tell it: a denormal number is multiplied to see.
    return float(torch.tensor(1e-40) * 1.0) == 0.0
