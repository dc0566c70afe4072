"""What a keyed draw costs beside torch's own: CPU nanoseconds for each number, one thread, both in turn.

    python benchmarks/draws.py

A stack of 64 runs draws for 32 samples of 64 numbers in a traced step; torch draws as many from its generator at once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shoal.step.clock import Clock
from shoal.step.drawn.keys import StepKeys
from shoal.step.mapped import Mapped
from shoal.step.stepped import Outcome

RUNS, SHAPE = 64, (32, 64)
DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: functional.dropout(x, 0.5),
    "rand": torch.rand_like,
    "randn": torch.randn_like,
}


def nanoseconds(call: Callable[[], object], n: int) -> float:
    """Of one number of a call that draws `n`."""
    began = time.process_time_ns()
    for _ in range(20):
        call()
    return (time.process_time_ns() - began) / 20 / n


def main() -> None:
    """Print a line for each kind of draw."""
    torch.set_num_threads(1)
    x = torch.randn(RUNS, *SHAPE)
    keys = StepKeys(range(RUNS))
    for name, draw in DRAWS.items():

        def step(params: Any, buffers: Any, batch: Any, clock: Clock, draw: Any = draw) -> Outcome:
            with clock.drawing():
                return Outcome(batch.sum(), {}, {}, (draw(batch),))

        mapped = Mapped(step, gradients=False)
        params = {"w": torch.zeros(RUNS, 1)}
        calls = lambda: mapped(params, {}, x, Clock(keys=keys)), lambda: draw(x)  # noqa: B023
        for call in calls:
            call()
        times = [[nanoseconds(call, x.numel()) for call in calls] for _ in range(9)]
        own, theirs = (statistics.median(each) for each in zip(*times, strict=True))
        print(f"{name:10} keyed {own:6.2f} ns   torch {theirs:6.2f} ns   ratio {own / theirs:.2f}")


if __name__ == "__main__":
    main()
