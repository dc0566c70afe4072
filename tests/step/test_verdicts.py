"""What was tried of kernels is known to the processes to come."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shoal.step.compiled.kernel import Kernel
from shoal.step.compiled.verdicts import Verdicts


def kernel(function: str) -> Kernel:
    """One with nothing to it but its name."""
    found: Any = Kernel.__new__(Kernel)
    nodes = [SimpleNamespace(name="product")]
    found.units = [SimpleNamespace(function=function, group=SimpleNamespace(nodes=nodes))]
    return found


@pytest.mark.parametrize("fastest", [0, 1, None])
def test_which_kernel_is_the_fastest_is_timed_once_on_a_machine(fastest: int | None, tmp_path: Path) -> None:
    kernels, timed = [kernel("one"), kernel("other")], list[str]()

    def time() -> int | None:
        timed.append("timed")
        return fastest

    found = []
    for _ in range(2):  # as two processes would ask
        verdicts = Verdicts(str(tmp_path), [torch.zeros(2)])
        found.append(verdicts.fastest(kernels, time))
        verdicts.keep()

    assert (found, timed) == ([fastest, fastest], ["timed"])
