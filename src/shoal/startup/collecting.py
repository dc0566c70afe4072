"""When Python looks for garbage: not while what is made stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage within this, where next to everything that is made stays."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            _count_as_old()
            gc.enable()


def _count_as_old() -> None:
    """Put all that is alive among the objects that are seldom looked through, which saves 0.1 s of looking now."""
    # Where somebody has frozen objects they are to stay so.
    if not gc.get_freeze_count():
        gc.freeze()
        # What is thawed is in the oldest generation, wherever it was before.
        gc.unfreeze()
