"""CPU time of a run in a stack: 100 epochs of the reference parabola, by stack size and way of computing.

    python benchmarks/stack.py [--sizes 1,2,16,64,256,1024] [--epochs 30] [--repeats 3] [--jax PYTHON]

Every way does the same work (2048 samples, 80/20, batches of 128, validation in batches of 256 after every epoch, an
MLP 1-32-32-1, Adam) on one thread. "default" is how a stack begins, "compiled" how it goes on once that pays. The ways
take turns within each repeat, because the machine drifts. Times are CPU milliseconds a run, scaled to 100 epochs,
without traces and compilations, which are printed beside them, or happen before ("compiled"). `--jax` names
a Python that has jax; where it is not given, this one is asked. "jax" draws the orders of the samples inside its
compiled epoch; "jax, orders" is given NumPy's, which takes less than half the time.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from jax_stack import has_jax, jax_times
from shoal import machine
from shoal.engines.job import Job
from shoal.engines.stack.allocator import keep_memory
from shoal.engines.stack.epoch import Training, evaluate
from shoal.engines.stack.gathered import Gathered
from shoal.engines.stack.rates import columns
from shoal.engines.stack.steady import steady
from shoal.engines.stack.update import Update
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.size import Footprint
from shoal.losses import MeanSquaredError
from shoal.models import MLP
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.compiled import draft, program
from shoal.step.compiled.program import Heat, of_graph
from shoal.step.mapped import Mapped
from shoal.tasks import Parabola

EPOCHS = 100
FLOP = 1.15e9
"""Floating-point operations of a run's matrix products."""

Epochs = Callable[[int], None]
"""Trains all runs for so many epochs."""


def job(seed: int) -> Job:
    """The reference work with this seed."""
    return Job(
        task=Parabola(seed=seed, batch_size=128, val_batch_size=256),
        model=MLP(),
        loss=MeanSquaredError(),
        optimizer=Adam(lr=1e-3),
        scheduler=Constant(),
        trainer={"max_epochs": EPOCHS},
        callbacks={},
        loggers={},
        seed=seed,
        engine="vectorized",
        config={},
    )


def stack(size: int, *, traced: bool, compiled: bool = False) -> Epochs:
    """The vectorised engine's core, the runs in blocks as a sweep cuts them."""
    members = [Member.of(job(seed)) for seed in range(size)]
    template = members[0].module
    step = CapturedStep(template, "train")
    train = Mapped(step, traced=traced)
    val = Mapped(CapturedStep(template, "val"), gradients=False, traced=traced)
    update = Update()
    most = Footprint.of(step, next(iter(members[0].job.batches()[0]))).most()
    blocks = [_block(members[first : first + most], train, val, update) for first in range(0, size, most)]

    def run(epochs: int) -> None:
        program.HOT = 0.0 if compiled else math.inf
        for block in blocks:
            block(epochs)

    if compiled:
        run(1)
        time.sleep(2)  # the compiler works beside
    return run


def _block(members: Sequence[Member], train: Mapped, val: Mapped, update: Update) -> Epochs:
    running = Running(members)
    batches = [running.members[run].job.batches() for run in running.filled]
    gathered = Gathered([one for one, _ in batches])
    held = list(Gathered([one for _, one in batches if one is not None]).epoch(0, dtype=torch.float32))
    training = Training(running.stack, train, update)
    lrs = columns(running.rates, len(running.stack), epoch=0, step=0, n_steps=1)
    clock = Clock()

    def run(epochs: int) -> None:
        for _ in range(epochs):
            number = clock.now[0]
            batches = list(gathered.epoch(number, dtype=torch.float32))
            history = training.epoch(batches, lrs, clock, n_batches=len(batches))
            torch.stack(history.losses).mean(0).tolist()
            measured = [each["val/loss"] for each in evaluate(running.stack, val, [held], clock).logged]
            torch.stack(measured).mean(0).tolist()

    return run


def plain_loop(size: int) -> Epochs:
    """One run after the other: batches in memory, fused Adam."""
    runs = []
    for seed in range(min(size, 2)):
        described = job(seed)
        module, (train, val) = described.module().get_submodule("model"), described.batches()
        assert val is not None
        runs.append((train, val, module, torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)))

    def run(epochs: int) -> None:
        for train, val, module, optimizer in runs:
            for number in range(epochs):
                _plain_epoch(train.epoch(number), val.epoch(0), module, optimizer)

    return run


def _plain_epoch(train: Any, val: Any, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    loss = nn.functional.mse_loss
    for x, y in zip(train[0].split(128), train[1].split(128), strict=True):
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        for x, y in zip(val[0].split(256), val[1].split(256), strict=True):
            loss(module(x), y)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process for some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def rates() -> tuple[float, float]:
    """Operations a second of batched products of the reference's sizes: the library's best, and shoal's own."""
    x = torch.randn(64, 128, 32)
    found = [_rates(x, torch.randn(64, 32, 32)), _rates(x.transpose(1, 2), torch.randn(64, 128, 32))]
    library, own = (max(each) for each in zip(*found, strict=True))
    return library, own


def _rates(left: torch.Tensor, right: torch.Tensor) -> tuple[float, float]:
    made = of_graph(make_fx(torch.bmm)(left, right), Heat(), "product")
    draft.SLOWER, before = math.inf, draft.SLOWER
    while not made.settled:
        made(left, right)
    draft.SLOWER = before

    def rate(multiply: Callable[..., object]) -> float:
        best = min(cpu(lambda: [multiply(left, right) for _ in range(200)]) for _ in range(5))
        return 2 * 64 * 128 * 32 * 32 * 200 / best

    return rate(torch.bmm), rate(made) if made.compiled else 0.0


def measure(size: int, epochs: int, repeats: int, python: str | None) -> dict[str, tuple[float, float]]:
    """For each way: milliseconds a run, and seconds before the first epoch was done."""
    ways: dict[str, Epochs] = {
        "plain loop": plain_loop(size),
        "default": stack(size, traced=True),
        "compiled": stack(size, traced=True, compiled=True),
    }
    if size <= 256:
        ways["plain vmap"] = stack(size, traced=False)
    first = {name: cpu(lambda run=run: run(1)) for name, run in ways.items()}  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    others = {"jax": True, "jax, orders": False} if python else {}
    seconds |= {name: [] for name in others}
    for _ in range(repeats):
        for name, run in ways.items():
            seconds[name].append(cpu(lambda run=run: run(epochs)))  # type: ignore[misc]
        for name, inside in others.items():
            assert python is not None
            first[name], once = jax_times(python, size, epochs, 1, inside=inside)
            seconds[name] += once
    runs = {name: min(size, 2) if name == "plain loop" else size for name in seconds}
    scale = 1e3 * EPOCHS / epochs
    return {name: (statistics.median(each) * scale / runs[name], first[name]) for name, each in seconds.items()}


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,2,16,64,256,1024")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jax", default=sys.executable)
    chosen = parser.parse_args(arguments)
    python = chosen.jax if has_jax(chosen.jax) else None
    if python is None:
        print("no jax here: left out (pip install jax, or --jax PYTHON)")
    keep_memory()
    with steady():
        library, own = rates()
        rate = max(library, own)
        print(f"batched products: {library / 1e9:.0f} GFLOP/s by MKL, {own / 1e9:.0f} by shoal's own kernel")
        print(f"{machine.processor()}; the limit is {FLOP / rate * 1e3:.1f} ms a run")
        print(f"{'runs':>5} {'way':<12} {'ms a run':>9} {'of jax':>7} {'of plain':>9} {'of limit':>9} {'start':>8}")
        for size in map(int, chosen.sizes.split(",")):
            report(size, measure(size, chosen.epochs, chosen.repeats, python), rate)


def report(size: int, times: dict[str, tuple[float, float]], rate: float) -> None:
    """A line for each way."""
    jax, plain = times.get("jax", (float("nan"), 0))[0], times["plain loop"][0]
    for name, (ms, first) in times.items():
        limit = FLOP / rate * 1e3 / ms
        print(
            f"{size:>5} {name:<12} {ms:>9.1f} {ms / jax:>7.2f} {ms / plain:>9.3f} {limit:>9.2f} {first:>6.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
