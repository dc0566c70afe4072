"""Signals: those that ask a training to stop, and handlers that are in place for as long as something takes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from shoal.errors import ExitCode, ShoalError

Receive = Callable[[int, FrameType | None], object]

# Windows has neither SIGUSR1 nor SIGHUP.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, termination, and what SLURM sends before it preempts a job."""
_HANGUP = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))
"""The terminal is gone: training goes on."""


class Interrupted(ShoalError):
    """A run or a sweep was asked to stop by this signal; `when` says how far it was."""

    def __init__(self, number: int, when: str) -> None:
        self.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        super().__init__(f"interrupted by {signal.Signals(number).name} {when}")

    def goes_on(self, path: Path) -> None:
        """Say with what command what is in this directory goes on."""
        self.hint = f"go on: shoal resume {path}"
        # What `str` shows of an exception is made of these, which have the text without the hint.
        self.args = (self.text(),)


@contextmanager
def listening(receive: Receive) -> Iterator[Mapping[int, Any]]:
    """Call `receive` for each signal that asks to stop while the block runs; gives the handlers of before."""
    with _handled(dict.fromkeys(STOPPING, receive) | dict.fromkeys(_HANGUP, signal.SIG_IGN)) as before:
        yield before


@contextmanager
def unheard() -> Iterator[None]:
    """Let nothing ask to stop while the block runs."""
    with _handled(dict.fromkeys(STOPPING, signal.SIG_IGN)):
        yield


@contextmanager
def _handled(handlers: Mapping[int, Any]) -> Iterator[Mapping[int, Any]]:
    """Put the handlers in place, and those before back; off the main thread there are none to put."""
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, each) for number, each in handlers.items()} if in_main else {}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
