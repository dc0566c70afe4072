"""Frames told by file and line alone: their text is looked for through all modules that there are.

Torch asks for every operator that is defined in Python where that is, and takes the file and the line of the answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_USUAL = 1
"""Lines of text that `inspect.getframeinfo` gives to who asks for no number of them."""


@contextmanager
def unread_sources() -> Iterator[None]:
    """Within this, `inspect.getframeinfo` reads no source for who asks for no number of lines: it saves 0.04 s."""
    usual = inspect.getframeinfo

    def without_text(frame: FrameType | TracebackType, context: int = _USUAL) -> Any:
        return usual(frame, 0 if context == _USUAL else context)

    inspect.getframeinfo = without_text
    try:
        yield
    finally:
        inspect.getframeinfo = usual
