"""The error boundary: whatever goes wrong in a command is said here, in at most three lines on standard error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from shoal.cli.ways_out import way_out
from shoal.errors import ExitCode, ShoalError, brief, raised_at
from shoal.override_words import key_and_value
from shoal.review.wording import printable

DEBUG = "debug=true"
"""The word in any command that asks for a traceback; SHOAL_DEBUG=1 in the environment stands for it."""


def debugging(words: Sequence[str]) -> bool:
    """Whether these words, or the environment, ask for a traceback."""
    return any(map(asks_for_traceback, words)) or os.environ.get("SHOAL_DEBUG", "").lower() in ("1", "true")


def asks_for_traceback(word: str) -> bool:
    """Whether a word is `debug=true`, in any way in which the command line may write it."""
    key, value = key_and_value(word)
    return key == "debug" and value.lower() == "true"


def tell(error: BaseException, *, debug: bool) -> int:
    """Say what went wrong; the exit code."""
    if debug:
        traceback.print_exception(error)
    text, code = _said(error)
    # Three lines whatever an error says: a library's message may have hundreds, and letters that steer a terminal.
    print("\n".join(printable(line) for line in text.splitlines()[:3]), file=sys.stderr)
    return int(code)


def _said(error: BaseException) -> tuple[str, ExitCode]:
    if isinstance(error, ShoalError):
        return error.text(), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ExitCode.INTERRUPTED
    return _unexpected(error), ExitCode.FAILED


def _unexpected(error: BaseException) -> str:
    # Where memory is short torch raises a RuntimeError that says so.
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "error: not enough memory for this: it needs smaller data, a smaller batch or a smaller model"
    # A library's error: its first line says most, and the place helps where the words do not.
    lines = [f"error: {brief(error)} ({raised_at(error)})", way_out(error), f"{DEBUG} shows the traceback"]
    return "\n  ".join(filter(None, lines))
