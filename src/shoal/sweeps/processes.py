"""Where worker processes come from: a server that has imported torch once, where the system has such a thing."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from shoal.machine import has_one_thread
from shoal.signals import unheard
from shoal.startup import cheap_imports, is_own_process

PRELOADED = "shoal.sweeps.preload"
"""Imported once for all worker processes."""
TRAINING = "shoal.sweeps.block_training"
"""What a launcher and its workers have in common, torch and Lightning among it."""
_warm = False
"""Whether the server was begun, and workers will be wanted."""


def context() -> Any:
    """The way to start worker processes."""
    # Not a fork of this process: the copy of one with threads, which torch starts, may wait for ever on a lock.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([PRELOADED])
    return found


def warm_up() -> None:
    """Let the server begin to import what workers need, beside whatever this process does meanwhile.

    A process of shoal's own that has no torch yet imports it first, and the server is a copy of it.
    """
    global _warm
    if "forkserver" in multiprocessing.get_all_start_methods():
        _warm = True
        if _is_clean():
            with cheap_imports():
                import_module(TRAINING)
            # Only now: libraries begin threads of their own as they are loaded, where the environment allows them.
            if has_one_thread():
                _begin_copy()
                return
        _begin()


def _is_clean() -> bool:
    """Whether a copy of this process is as good as a new one: nobody has used torch in it."""
    # On other systems libraries break in a copy that runs no program of its own.
    return sys.platform == "linux" and is_own_process() and "torch" not in sys.modules


def _begin() -> None:
    from multiprocessing import forkserver

    context()
    # Ctrl-C is for the launcher, and reaches all processes of the terminal: the server goes on ignoring it.
    with unheard(), without_main():
        forkserver.ensure_running()


def _begin_copy() -> None:
    """Begin the server as a copy of this process, which spares it the imports that are done."""
    from multiprocessing import resource_tracker, util

    resource_tracker.ensure_running()  # that is a process of its own, which begins in Python's own way
    start = util.spawnv_passfds
    util.spawnv_passfds = _copied
    try:
        _begin()
    finally:
        util.spawnv_passfds = start


def _copied(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
    """Python's function that starts a program with these open files, but of a copy of this process; its process id."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or both would write what waits
    pid = os.fork()
    if pid:
        return pid
    try:
        _begin_afresh(passfds)
        # The code of `python -c CODE`, without what this process has put into its own context.
        Context().run(exec, args[-1], {})
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _begin_afresh(kept: Sequence[int]) -> None:
    """Leave what a program that is started would not have: other open files, and the server that is being started."""
    from multiprocessing import forkserver

    # It is locked, as it was at the moment of the copy.
    server: Any = forkserver._forkserver
    server.__init__()
    first = 3
    for each in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        os.closerange(first, each)
        first = each + 1


class Beside:
    """A copy of the server that gets ready for some work before this process knows what the work is about."""

    def __init__(self) -> None:
        self._connection: Connection | None = None

    def begin(self, ready: Callable[[], object]) -> bool:
        """Have it do what makes it `ready`; whether there is such a process."""
        # A server for this alone takes longer to import torch than any picture takes to draw.
        if not _warm:
            return False
        ours, theirs = context().Pipe()
        try:
            with without_main():
                context().Process(target=_work, args=(theirs, ready), daemon=True).start()
        # The system allows no further process, or the server that starts them has ended.
        except (OSError, EOFError):
            ours.close()
            return False
        finally:
            # Else this process had that end open as well, and would never hear that the other one is gone.
            theirs.close()
        self._connection = ours
        return True

    def done(self, work: Callable[..., Any], *given: object) -> Any:
        """What the work gives, done there; here where there is no such process, it is gone, or has failed at it."""
        if self._connection is not None:
            with suppress(OSError, EOFError):
                self._connection.send((work, given))
                found = self._connection.recv()
                if found is not None:
                    return found[0]
        return work(*given)

    def end(self) -> None:
        """Let it go once it has done what it does."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _work(connection: Connection, ready: Callable[[], object]) -> None:
    """Get ready, and work until whoever asks for it is gone."""
    gc.disable()  # next to nothing of what it makes is garbage before all is done
    ready()
    with suppress(EOFError, OSError):
        while True:
            work, given = connection.recv()
            try:
                found = (work(*given),)
            except Exception:  # whatever it is: it is met again where it was asked for, and told there
                found = None
            connection.send(found)


@contextmanager
def at_once(work: Callable[..., object], *given: object) -> Iterator[None]:
    """Do this work in a copy of this process while the block runs; here at its end where there is none, or it fails.

    What it raises is raised at the end.
    """
    copy = os.fork() if has_one_thread() else None
    if copy == 0:
        try:
            work(*given)
            os._exit(0)
        finally:
            os._exit(1)
    failed = True
    try:
        yield
    finally:
        if copy is not None:
            failed = os.waitpid(copy, 0)[1] != 0
    if failed:
        work(*given)


@contextmanager
def without_main() -> Iterator[None]:
    """Keep a worker from importing the main module again, which may be a script without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = type(sys)("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
