"""Standard input, output and error that are always there: training does not end because nobody reads what it says.

Nor because a terminal cannot show a letter of it: what is told is escaped there. What a program will read is not.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any


def keep_standard_streams() -> None:
    """Open what is closed, and let what is written after the reader has gone, or the disk is full, go nowhere.

    A closed stream is opened on the null device, for the processes that this one starts too: else the next file to be
    opened, a checkpoint perhaps, would take its place. A stream that somebody has put in place of the process's own is
    left alone.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_if_closed(number)
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
        elif name != "stdin" and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(stream, stream.fileno()))


def say(text: str) -> None:
    """Print a text, escaping what a standard output that is not the process's own cannot show."""
    coding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(coding, "backslashreplace").decode(coding))


def copied(stream: Any) -> Any:
    """The stream through a file of its own, which still leads there while the process's is turned elsewhere.

    The stream itself, where it is no file. Closing the copy leaves it open.
    """
    try:
        return _lasting(stream, os.dup(stream.fileno()), closefd=True)
    except (OSError, ValueError):
        return stream


def _open_if_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        # Python's own files end with this process, and a standard stream is for those that it starts as well.
        os.set_inheritable(number, True)


def _lasting(stream: Any, number: int, *, closefd: bool = False) -> io.TextIOWrapper:
    """The same encoding and buffering, through a file that outlasts its reader; what it cannot write is escaped."""
    with suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(number, "w", closefd=closefd)),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Lasting(io.FileIO):
    """A file whose first failing write makes it the null device."""

    def write(self, data: Any, /) -> int:
        """Write what can be written, once the reader is ready for it; the number of bytes taken."""
        try:
            taken: int | None = super().write(data)
            while taken is None:  # full, and shared with somebody who has made it one that does not wait
                select.select([], [self], [])
                taken = super().write(data)
            return taken
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            # In the place of the file itself: who else writes to this number, as a library does, is not ended either.
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(data)
