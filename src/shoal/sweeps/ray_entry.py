"""What Ray is sent as a task's code, by value: it finds the other modules of shoal once it is there.

So nothing of shoal is imported where this module is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def enter(number: int, folder: str | None, path: Sequence[str], given: bytes, letters: Any) -> None:
    """Train a block, in the launcher's folder or one of its own, with the modules of the launcher's path."""
    sys.path += [each for each in path if each not in sys.path]
    from shoal.sweeps.ray_task import train_given

    train_given(number, folder, given, letters)
