"""Which kernels of a graph agree with torch to the bit, and of several the fastest one.

Both are tried, unless a process on this machine has tried it before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from torch import Tensor

from shoal.step.compiled.kernel import Kernel
from shoal.step.compiled.units import Values
from shoal.step.exact import remembered

_TORCH = -1
"""In the place of a kernel's number, where none is as fast as torch."""


class Verdicts:
    """What is known of the kernels of one graph, for inputs of one form."""

    def __init__(self, text: str, inputs: Sequence[Tensor]) -> None:
        """The text tells the graph, and what its kernels are made of."""
        self._name = remembered.digest(f"kernels of {text}", inputs)
        self._known: dict[str, int] = json.loads(remembered.recalled(self._name) or "{}")
        self._tried = False

    def agrees(self, kernel: Kernel, values: Values) -> bool:
        """Whether it gives torch's numbers to the bit."""
        key = _key(kernel)
        if key not in self._known:
            self._known[key], self._tried = kernel.agrees(values), True
        return bool(self._known[key])

    def fastest(self, kernels: Sequence[Kernel], timed: Callable[[], int | None]) -> int | None:
        """The place of the kernel that takes the least time; None where torch takes less. `timed` finds it out."""
        key = " ".join(["fastest", *map(_key, kernels)])
        if key not in self._known:
            found = timed()
            self._known[key], self._tried = _TORCH if found is None else found, True
        return None if self._known[key] == _TORCH else self._known[key]

    def keep(self) -> None:
        """Remember what has been tried."""
        if self._tried:
            remembered.keep(self._name, json.dumps(self._known))


def _key(kernel: Kernel) -> str:
    """The functions of a kernel, and what of the graph they compute."""
    told = [(unit.function, [node.name for node in unit.group.nodes]) for unit in kernel.units]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
