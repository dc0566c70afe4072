"""CPU time that it costs to compare a stack's programs with those of a run alone, beside the sweep that they train.

    python benchmarks/exact.py [--size 64] [--repeats 5]

A process trains a stack of the reference parabola as long as it takes for kernels to take over, first with nothing
remembered, then with what that process has found out. The time is that of the comparisons alone, those of the compiled
kernels included; it is shown as a share of a sweep of 256 runs at 39.5 ms each, which two such processes train.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from shoal.engines.stack.allocator import keep_memory
from shoal.engines.stack.epoch import Training, evaluate
from shoal.engines.stack.gathered import Gathered
from shoal.engines.stack.rates import columns
from shoal.engines.stack.steady import steady
from shoal.engines.step.compiled import program
from shoal.engines.step.exact.guard import Guard
from shoal.engines.step.mapped import Clock
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.rehearsal import rehearse
from shoal.engines.vectorized.running import Running
from stack import job

SWEEP = 256 * 0.0395
"""CPU seconds of a sweep of 256 runs."""
PROCESSES = 2
"""That train it."""


class Timed:
    """Functions whose CPU time is summed up."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - began

        return timed


def measured(size: int) -> float:
    """CPU seconds that this process compares, while a stack comes to its compiled kernels."""
    timed = Timed()
    Guard.settle = timed.of(Guard.settle)  # type: ignore[method-assign]
    program._agree = timed.of(program._agree)
    program.HOT = 0.0
    running = Running([Member.of(job(seed)) for seed in range(size)])
    rehearse(running)
    with steady():
        _train(running, epochs=2)
        time.sleep(2)  # the compiler works beside
        _train(running, epochs=2)
    return timed.seconds


def _train(running: Running, epochs: int) -> None:
    batches = [member.job.batches() for member in running.members]
    train = Gathered([each for each, _ in batches])
    val = list(Gathered([each for _, each in batches if each is not None]).epoch(0, dtype=torch.float32))
    training = Training(running.stack, running.steps.train, running.steps.update)
    lrs = columns(running.rates, len(running.stack), epoch=0, step=0, n_steps=1)
    for number in range(epochs):
        training.epoch(train.epoch(number, dtype=torch.float32), lrs, Clock(), n_batches=len(train))
        evaluate(running.stack, running.steps.val, val, Clock())


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="measure in this process, and print the seconds")
    chosen = parser.parse_args(arguments)
    if chosen.once:
        keep_memory()
        print(measured(chosen.size))
        return
    command = [sys.executable, __file__, "--once", "--size", str(chosen.size)]
    first, later = [], []
    for _ in range(chosen.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for seconds in (first, later):
                environment = {**os.environ, "XDG_CACHE_HOME": cache}
                said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                seconds.append(float(said))
    for name, seconds in (("the first process on a machine", first), ("every later process", later)):
        median = statistics.median(seconds)
        print(f"{name}: {median * 1e3:.0f} ms; {PROCESSES} of them {median * PROCESSES / SWEEP:.2%} of the sweep")


if __name__ == "__main__":
    main(sys.argv[1:])
