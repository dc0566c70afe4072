"""A copy of this process that works for it, asked and answering by pipes as a program that it had started would."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import NoReturn


class Copy:
    """A copy of this process, with what of `subprocess.Popen` is asked of a process beside."""

    def __init__(self, work: Callable[[], object]) -> None:
        """Have it `work`, its standard input and output the pipes that lead here, and end.

        Raises:
            OSError: where the system allows no further process.
        """
        (asked, to), (came, answers) = os.pipe(), os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or both would write what waits
        with warnings.catch_warnings():
            # Python warns where there is any thread, those of NumPy's too, which end before a copy is made.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _work({0: asked, 1: answers}, [asked, to, came, answers], work)
        os.close(asked)
        os.close(answers)
        self.stdin, self.stdout = os.fdopen(to, "wb"), os.fdopen(came, "rb")
        self.returncode: int | None = None
        """Known once it was waited for."""

    def communicate(self, given: bytes) -> tuple[bytes, None]:
        """Send this, and wait until it has ended; what it has answered."""
        with contextlib.suppress(BrokenPipeError), self.stdin:
            self.stdin.write(given)
        answer = self.stdout.read()
        self.wait()
        return answer, None

    def kill(self) -> None:
        """End it, if it is there still."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait until it has ended; what it has ended with, as `subprocess` tells it."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *raised: object) -> None:
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.wait()


def _work(streams: Mapping[int, int], pipes: list[int], work: Callable[[], object]) -> NoReturn:
    """Leave what a program that is started would not have, work, and end."""
    try:
        for stream, pipe in streams.items():
            os.dup2(pipe, stream)
        for pipe in pipes:
            os.close(pipe)
        # Nothing in the working directory may be taken for one of Python's own modules.
        own = (sys.prefix, sys.base_prefix)
        sys.path.sort(key=lambda path: not path.startswith(own))
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
