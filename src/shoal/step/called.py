"""Functions in C that a step calls and whose effect no stack has: clocks, generators of random numbers, databases.

Python tells a profiler of each such call before it is done, by whatever name it is called.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

import torch

from shoal.step.silenced import UPSTREAM
from shoal.step.unfit import AFTERWARDS, CannotStackError

_TIMES = """
    time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time
    thread_time_ns clock_gettime clock_gettime_ns localtime gmtime ctime asctime
"""
_TIME = frozenset(_TIMES.split())
_NOW = frozenset({"now", "utcnow", "today"})
_SEEDS = frozenset({"manual_seed", "set_state", "seed", "graphsafe_set_state"})
_APART = "torch's functions draw for each run apart in a stack"
DRAWS = "draws from a global random generator", _APART
_PACKAGES = "sqlite3 h5py tables lmdb zarr duckdb psycopg2 psycopg pymongo redis socket _socket"
_KEEPING = frozenset(_PACKAGES.split())
"""Packages whose objects keep, or send, what they are told."""


@contextmanager
def called(refused: list[tuple[str, str]]) -> Iterator[None]:
    """Refuse such calls, in this thread; what was `refused` is added to these."""
    if sys.getprofile() is not None:  # somebody profiles the program, and there is only one
        yield
        return

    def told(frame: FrameType, event: str, function: Any) -> None:
        what = None
        if event == "c_call":
            what = _refused(function, frame)
        elif event == "call" and frame.f_globals.get("__name__", "").partition(".")[0] in _KEEPING:
            what = _words("keeps", frame.f_globals["__name__"])
        if what:
            refused.append(what)
            raise CannotStackError(*what)

    sys.setprofile(told)
    try:
        yield
    finally:
        sys.setprofile(None)


def _refused(function: Any, frame: FrameType) -> tuple[str, str] | None:
    """What a function does that is called there, in words, where a stack cannot follow it."""
    owner, name = function.__self__, function.__name__
    kind = _kind(owner if isinstance(owner, type) else type(owner), getattr(owner, "__name__", ""), name)
    if kind is None or owner is not _GENERATORS.get(kind, owner) or _is_anothers(frame, kind):
        return None
    return _words(kind, f"{getattr(owner, '__name__', type(owner).__name__)}.{name}")


def _words(kind: str, name: str) -> tuple[str, str]:
    does, instead = _WORDS[kind]
    return does.format(name), instead


_GENERATORS: dict[str, Any] = {"seeds": torch.default_generator, "draws": random._inst}
"""The ones that all of a program shares; of others it is seen that they hold something else afterwards."""
_WORDS = {
    "time": ("reads a clock ({}), once for all steps of a stack", "hooks of an epoch's beginning and end can read it"),
    "seeds": ("sets torch's random generator ({})", "without that each run's draws follow from its seed and the step"),
    "draws": DRAWS,
    "bytes": ("draws random numbers of the system's ({})", _APART),
    "keeps": ("calls {}, once for all steps of a stack", AFTERWARDS),
}


@cache
def _kind(cls: Any, module: str, name: str) -> str | None:
    """Which sort of function it is, by the class of its object and the name of its file where it has one."""
    if cls.__module__.partition(".")[0] in _KEEPING:
        return "keeps"
    if module == "time" and name in _TIME:
        return "time"
    if cls.__module__ == "datetime" and name in _NOW:
        return "time"
    if name in _SEEDS and issubclass(cls, torch.Generator):
        return "seeds"
    if issubclass(cls, random.Random):
        return "draws"
    return "bytes" if (module, name) in ((os.name, "urandom"), (os.name, "getrandom")) else None


def _is_anothers(frame: FrameType | None, kind: str) -> bool:
    """Whether torch or Lightning asks for itself; or a log, which is told as such; or who checks types, by samples."""
    # Whoever times the collection of garbage is called in the middle of anything.
    collecting = [getattr(each, "__code__", None) for each in gc.callbacks]
    while frame is not None:
        root = frame.f_globals.get("__name__", "").partition(".")[0]
        if root == "logging" or frame.f_code in collecting or frame.f_code.co_filename.startswith("<@beartype"):
            return True
        # Torch and Lightning seed for who asks them to.
        if root not in sys.stdlib_module_names and (kind != "seeds" or root != "torch"):
            return root in UPSTREAM if kind != "seeds" else root == "shoal"
        frame = frame.f_back
    return False
