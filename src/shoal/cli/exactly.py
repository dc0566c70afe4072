"""Printing what another program will read: as it is, or not at all."""

from __future__ import annotations

import sys

from shoal.errors import UsageError


def print_exactly(text: str) -> None:
    """Print a text that nothing may be escaped in.

    Raises:
        UsageError: where standard output has no way to write one of its letters.
    """
    try:
        # Tried before a letter is written: half a JSON document is worse than none.
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError as error:
        problem = f"standard output is {error.encoding}, which cannot hold {text[error.start : error.end]!r}"
        raise UsageError(problem, hint="before the command: PYTHONIOENCODING=utf-8") from None
    sys.stdout.write(text)
