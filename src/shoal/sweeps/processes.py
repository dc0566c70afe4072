"""Where worker processes come from: a server that has imported torch once, where the system has such a thing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from shoal.signals import unheard

PRELOADED = "shoal.sweeps.preload"
"""Imported once for all worker processes."""
_warm = False
"""Whether the server was begun, and workers will be wanted."""
_foreseen: Mapping[str, str] | None = None
"""The environment of a server that was begun before anybody knew whether workers will be wanted."""


def context() -> Any:
    """The way to start worker processes."""
    # Not a fork of this process: the copy of one with threads, which torch starts, may wait for ever on a lock.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([PRELOADED])
    return found


def warm_up() -> None:
    """Let the server begin to import torch, beside whatever this process does meanwhile; one that was foreseen serves.

    Not where it has another environment than this process by now: its copies would compute by that one.
    """
    global _warm, _foreseen
    if "forkserver" in multiprocessing.get_all_start_methods():
        if _foreseen != dict(os.environ):
            dismiss()
        _warm, _foreseen = True, None
        _begin()


@contextmanager
def foreseen() -> Iterator[None]:
    """Let the server begin before the configuration says that workers are wanted, and end it where they never are."""
    global _foreseen
    if _warm or "forkserver" not in multiprocessing.get_all_start_methods():
        yield
        return
    # Where the system allows no further process, that is told when one is wanted.
    with _one_thread_each(), suppress(OSError):
        _begin()
        _foreseen = dict(os.environ)
    try:
        yield
    finally:
        dismiss()


def dismiss() -> None:
    """End the server where it was foreseen and is not wanted."""
    global _foreseen
    if _foreseen is not None:
        from multiprocessing import forkserver

        # Python's own tests end a server by these; there is no public way.
        server: Any = forkserver._forkserver
        _foreseen = None
        # It may be anywhere in its imports, and would end after the last of them.
        os.kill(server._forkserver_pid, signal.SIGKILL)
        server._stop()


def _begin() -> None:
    from multiprocessing import forkserver

    context()
    # Ctrl-C is for the launcher, and reaches all processes of the terminal: the server goes on ignoring it.
    with unheard(), without_main():
        forkserver.ensure_running()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """What begins within this has one thread, as workers side by side have, unless the user says otherwise."""
    name = "OMP_NUM_THREADS"
    given = name in os.environ
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if not given:
            del os.environ[name]


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
