"""A job as something that can wait: a thread that runs while nothing else does, in a world of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shoal.dropin.world import World

_here = threading.local()
_running: list[Routine] = []
"""The job that runs, if any."""
runs = threading.Event()
"""Whether one does."""


class Routine:
    """A function that runs until it waits or ends; whoever resumes it stands still meanwhile."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.waits_for: Any = None
        """What it has said it waits for; None once it has ended."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.notes: list[str] = []
        """What is to be said of the job."""
        self.told = False
        """Whether its end is known to who wants to know."""
        self._function = function
        self._world = World.taken()
        self._own, self._others = threading.Semaphore(0), threading.Semaphore(0)
        # A thread and no generator: a job waits within Lightning's loops, whose calls cannot be suspended otherwise.
        # A daemon: a job that is never resumed must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self, answer: Any = None) -> bool:
        """Let it run; whether it waits again."""
        # What a process has once (the working directory, loggers, generators) changes hands with the job.
        outside = World.taken()
        self._answer, self.waits_for = answer, None
        self._world.enter()
        _running.append(self)
        runs.set()
        self._own.release()
        self._others.acquire()
        _running.pop()
        if not _running:
            runs.clear()
        self._world = World.taken()
        outside.enter()
        return self.waits_for is not None

    def wait(self, reason: Any) -> Any:
        """Within it: stand still until it is resumed; what it is given then."""
        self.waits_for = reason
        self._others.release()
        self._own.acquire()
        return self._answer

    def _run(self) -> None:
        self._own.acquire()
        _here.routine = self
        try:
            self.result = self._function()
        except BaseException as error:  # a job that exits ends itself alone
            self.error = error
        self._others.release()


def current() -> Routine | None:
    """The job that this is called in."""
    return getattr(_here, "routine", None)


def around() -> Routine | None:
    """The job that runs, also where this is called in a thread that it has begun."""
    return _running[-1] if _running else None


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Let a job set a handler for a signal as it could in the main thread; signals go to who runs the jobs."""
    genuine, handlers = signal.signal, dict[Any, Any]()

    def set_handler(number: Any, handler: Any) -> Any:
        # Python lets the main thread alone set handlers, and a job has a thread of its own.
        if current() is None:
            return genuine(number, handler)
        before = handlers.get(number, signal.getsignal(number))
        handlers[number] = handler
        return before

    signal.signal = set_handler  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = genuine
