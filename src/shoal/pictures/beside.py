"""Charts drawn by a process beside this one, which imports matplotlib while this one trains.

Matplotlib takes a third of a second to import, and half as long to draw: as long as everything that a short training
does beside its imports. On a machine with another core the process beside has done the first before there is a chart,
and this one waits for the second alone. Where it can be a copy of this one, it has NumPy and shoal already. Where there
is no such process, or it fails, the same is done here.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shoal.machine import cores, has_one_thread
from shoal.pictures.chart import Chart
from shoal.pictures.copied import Copy

_SERVE = "import sys; sys.path.extend(sys.argv[1:]); from shoal.pictures.beside import serve; serve()"
_process: subprocess.Popen[bytes] | Copy | None = None


def begin() -> None:
    """Begin a process that draws the next chart, where there is a core for it and matplotlib is not imported here."""
    global _process
    if _process is not None or cores() < 2 or "matplotlib" in sys.modules or not sys.executable:
        return
    with suppress(OSError):
        _process = _copied() if has_one_thread() else _started()


def _copied() -> Copy:
    # Torch imports it, too. The threads that it may begin end by themselves before a copy is made.
    import numpy  # noqa: F401

    return Copy(serve)


def _started() -> subprocess.Popen[bytes]:
    # -P: nothing in the working directory may be taken for one of Python's own modules.
    command = [sys.executable, "-P", "-c", _SERVE, *filter(os.path.isabs, sys.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextmanager
def ending() -> Iterator[None]:
    """End the process after this, if it was begun and is there still."""
    try:
        yield
    finally:
        end()


def end() -> None:
    """End the process, if it is there still."""
    global _process
    process, _process = _process, None
    if process is not None:
        process.kill()
        with process, suppress(OSError):  # closes what leads to it, and waits
            pass


def drawn(chart: Chart) -> bytes:
    """The chart as PNG."""
    answer = _asked(chart)
    if answer is None:
        from shoal.pictures.rendering import png, rendered  # late: it imports matplotlib

        return png(rendered(chart))
    found, told = answer
    for logger, level, message in told:
        logging.getLogger(logger).log(level, "%s", message)
    return found


_Told = list[tuple[str, int, str]]
"""What was logged, warnings too: the logger, the level and the message."""


def _asked(chart: Chart) -> tuple[bytes, _Told] | None:
    """What the process beside has drawn, and what was logged there; None where there is none or it has failed."""
    # Whoever has imported it here may have told it how to draw.
    if _process is None or "matplotlib" in sys.modules:
        return None
    process = _process
    with ending():
        answer, _ = process.communicate(pickle.dumps(chart))
    if process.returncode:
        return None
    found: tuple[bytes, _Told] = pickle.loads(answer)
    return found


def serve() -> None:
    """Be the process beside: import, wait for a chart, draw it, and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that trains, and reaches both
    asked, answering = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no part of the answer
    gc.disable()  # next to nothing of what is made is garbage before the end
    told: _Told = []
    logging.getLogger().handlers[:] = [_Telling(told)]
    logging.captureWarnings(True)
    try:
        from shoal.pictures.undescribed import import_undescribed

        import_undescribed()
        from shoal.pictures.rendering import png, rendered

        told.clear()  # of what was logged while it was imported nothing is about the chart
        pickle.dump((png(rendered(pickle.load(asked))), told), answering)
        answering.flush()
    except Exception:  # whatever it is, it is met again where this process was begun, and told there
        os._exit(1)
    # Taking the modules apart would take longer than the drawing of some charts.
    os._exit(0)


class _Telling(logging.Handler):
    """Keeps what is logged, to be logged again where the process was begun."""

    def __init__(self, told: _Told) -> None:
        super().__init__(logging.WARNING)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append((record.name, record.levelno, record.getMessage()))
