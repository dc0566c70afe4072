"""CPU time that it costs to compare a stack's programs with those of a run alone, beside the sweep that they train.

    python benchmarks/exact.py [--size 64] [--repeats 5]

Two processes, as the workers of a sweep are, begin at the same time and train a stack of the reference parabola as
long as it takes for kernels to take over: first with nothing remembered, then with what they have found out. The time
is that of the comparisons alone, those of the compiled kernels included, in both processes; it is shown as a share of
the CPU time of a sweep of 256 runs, which is measured beside it in one process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from shoal.engines.stack.allocator import keep_memory
from shoal.engines.stack.epoch import evaluate
from shoal.engines.stack.gathered import Gathered
from shoal.engines.stack.rates import columns
from shoal.engines.stack.steady import steady
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.running import Running
from shoal.step.clock import Clock
from shoal.step.compiled import program
from shoal.step.exact.guard import Guard
from stack import job

SWEEP = ["task=parabola", "optimizer.lr=1e-4,1e-3,1e-2,1e-1", "seed=range(64)", "sweep.processes=0"]
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
    training = running.steps.training(running.stack)
    lrs = columns(running.rates, len(running.stack), epoch=0, step=0, n_steps=1)
    for number in range(epochs):
        training.epoch(train.epoch(number, dtype=torch.float32), lrs, Clock(keys=running.keys), n_batches=len(train))
        evaluate(running.stack, running.steps.val, [val], Clock(keys=running.keys))


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="measure in this process, and print the seconds")
    chosen = parser.parse_args(arguments)
    if chosen.once:
        import shoal.sweeps.preload  # noqa: F401  what a worker is a copy of, so that it has it from the start

        keep_memory()
        print(measured(chosen.size), flush=True)
        return
    command = [sys.executable, __file__, "--once", "--size", str(chosen.size)]
    first, later = list[float](), list[float]()
    for _ in range(chosen.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for seconds in (first, later):
                seconds.append(_together(command, {**os.environ, "XDG_CACHE_HOME": cache}))
    sweep = statistics.median(_sweep() for _ in range(min(3, chosen.repeats)))
    print(f"a sweep of 256 runs: {sweep:.1f} s")
    for name, seconds in (("the first sweep on a machine", first), ("every later one", later)):
        median = statistics.median(seconds)
        print(f"{name}: {median * 1e3:.0f} ms in {PROCESSES} processes, {median / sweep:.2%} of the sweep")


def _sweep() -> float:
    """CPU seconds of a sweep of 256 runs."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = ["-m", "shoal.cli", "train", "-m", *SWEEP, f"hydra.sweep.dir={folder}/sweep"]
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _together(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """CPU seconds that processes compare which begin at the same time."""
    begun = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    return sum(float(process.communicate()[0]) for process in begun)


if __name__ == "__main__":
    main(sys.argv[1:])
