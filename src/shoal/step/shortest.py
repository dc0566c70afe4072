"""How long something takes, where other work of the machine is no part of it."""

from __future__ import annotations

import time
from collections.abc import Callable


def shortest(do: Callable[[], object], tries: int) -> float:
    """The seconds of the shortest of so many tries: whatever else the machine does only adds to one."""
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return min(times)
