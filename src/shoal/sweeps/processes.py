"""Where worker processes come from: a server that has imported torch once, where the system has such a thing."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

PRELOADED = "shoal.sweeps.preload"
"""Imported once for all worker processes."""
_warm = False
"""Whether the server was begun."""


def context() -> Any:
    """The way to start worker processes."""
    # Not a fork of this process: the copy of one with threads, which torch starts, may wait for ever on a lock.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([PRELOADED])
    return found


def warm_up() -> None:
    """Let the server begin to import torch, beside whatever this process does meanwhile."""
    global _warm
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        _warm = True
        context()
        with without_main():
            forkserver.ensure_running()


@contextmanager
def beside(work: Callable[..., object], *given: object) -> Iterator[None]:
    """Do this work in another process while the block runs, or here at its end where there is no server to copy.

    What it raises is raised at the end.
    """
    if not _warm:
        # A server for this alone takes longer to import torch than any picture takes to draw.
        yield
        work(*given)
        return
    with ProcessPoolExecutor(1, mp_context=context()) as pool:
        try:
            with without_main():
                # The method and not what it gives: the work goes on beside the block, and raises where it is called.
                end = pool.submit(work, *given).result
        # The system allows no further process, or the server that starts them has ended.
        except (OSError, EOFError):
            end = partial(work, *given)
        yield
        end()


@contextmanager
def without_main() -> Iterator[None]:
    """Keep a worker from importing the main module again, which may be a script without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = type(sys)("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
