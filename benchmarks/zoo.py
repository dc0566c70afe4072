"""CPU time of a run of twelve small models: in a stack of 32 seeds, alone under Lightning, in a plain loop, and in jax.

    python benchmarks/zoo.py [--seeds 32] [--epochs 20] [--repeats 3] [--only KAN] [--jax PYTHON]

All do the same work: 1024 samples, 820 for training in batches of 64, validation after every epoch, Adam. The stack is
the vectorized engine's, with its checks, its Trainer and the metrics of every run; alone is the lightning engine's
`fit`; the plain loop takes batches from memory, with fused Adam, and writes nothing. Each way trains once before it is
timed, so traces, compilations and checks do not count. A model that does not stack trains alone, which the table says.
Models that are a few lines in jax train there too, in one compiled function, where a Python has it (`--jax`).
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn

from jax_stack import has_jax
from jax_zoo import MODELS, jax_time
from shoal import machine
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.stack.allocator import keep_memory
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.running import Running
from shoal.losses import CrossEntropy, MeanSquaredError
from shoal.models import Model
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.seeding import Stream, generator
from shoal.step.compiled import program
from shoal.step.compiled.library import Library
from shoal.tasks import Data, Split, Task
from zoo_models import ZOO, Kind

SAMPLES, TRAINING, BATCH = 1024, 820, 64
ALONE = 2
"""Runs that are timed one by one: each takes as long as any other."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Task):
    """Random numbers to learn by heart."""

    kind: Kind

    @property
    def inputs(self) -> int:
        return self.kind.inputs

    @property
    def outputs(self) -> int:
        return self.kind.outputs

    def data(self) -> Data:
        drawn = generator(self.seed, Stream.DATA)
        x = torch.rand(SAMPLES, self.inputs, generator=drawn) * 2 - 1
        y = (
            torch.randint(self.outputs, (SAMPLES,), generator=drawn)
            if self.kind.classes
            else torch.randn(SAMPLES, self.outputs, generator=drawn)
        )
        names = tuple(f"x{i}" for i in range(self.inputs))
        train, val = Split(x[:TRAINING], y[:TRAINING]), Split(x[TRAINING:], y[TRAINING:])
        return Data(train, val, names, tuple(f"y{i}" for i in range(self.outputs)))


@dataclass(frozen=True, kw_only=True)
class OfTheZoo(Model):
    """A model as its author draws it."""

    kind: Kind

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        del inputs, outputs
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which notes a stack trace for every kind of device, a millisecond each time.
            torch.default_generator.manual_seed(generator.initial_seed() % 2**31)
            return self.kind.make()


def job(kind: Kind, seed: int, epochs: int) -> Job:
    """The work with this seed."""
    return Job(
        task=Drawn(kind=kind, seed=seed, batch_size=BATCH),
        model=OfTheZoo(kind=kind),
        loss=CrossEntropy() if kind.classes else MeanSquaredError(),
        optimizer=Adam(lr=1e-3),
        scheduler=Constant(),
        trainer={"max_epochs": epochs, "log_every_n_steps": None, "accelerator": "cpu", "enable_model_summary": False},
        callbacks={},
        loggers={},
        seed=seed,
        engine="vectorized",
        config={},
    )


class Quiet:
    """Is told what comes of a stack, and keeps nothing."""

    def epoch_ended(self, epochs: object, running: Running) -> None:
        """Pass over it."""

    def is_asked_to_stop(self) -> bool:
        """Never."""
        return False


class Stacked:
    """Stacks of some seeds, whose steps are traced and compiled once."""

    def __init__(self, kind: Kind, seeds: int) -> None:
        self.kind, self.seeds = kind, seeds

    def __call__(self, epochs: int) -> None:
        running = self.running(epochs)
        driver.fit(running, Quiet())  # type: ignore[arg-type]

    def running(self, epochs: int) -> Running:
        """A fresh stack, checked as every one is."""
        members = [Member.of(job(self.kind, seed, epochs)) for seed in range(self.seeds)]
        running = Running(members, self.steps if "steps" in vars(self) else None)
        rehearse(running)
        return running

    @cached_property
    def steps(self) -> Any:
        """What the first of the stacks has traced."""
        return self.first.steps

    @cached_property
    def first(self) -> Running:
        """The first stack."""
        return self.running(1)

    def why_not(self) -> str | None:
        """Why these runs do not stack, where they do not."""
        reasons = unlike_alone(self.first)
        return next(iter(reasons.values())) if reasons else None

    def warm_up(self, epochs: int) -> None:
        """Trace, check and compile."""
        _ = self.steps
        self(epochs)


def wait_for_the_compiler() -> None:
    """Let every step that has begun to be compiled go on compiled: the compiler works beside, and for seconds."""
    ready = Library.ready

    def awaited(library: Library) -> bool:
        if library._compiling is not None:
            library._compiling.join()
        return ready(library)

    Library.ready = awaited  # type: ignore[method-assign, assignment]


def alone(kind: Kind, epochs: int) -> None:
    """Some runs one by one under Lightning."""
    for seed in range(ALONE):
        described = job(kind, seed, epochs)
        lightning.fit(described, described.module())


def plain_loop(kind: Kind, epochs: int) -> None:
    """Some runs one by one in a loop over batches in memory."""
    loss = nn.functional.cross_entropy if kind.classes else nn.functional.mse_loss
    for seed in range(ALONE):
        described = job(kind, seed, epochs)
        module, (train, val) = described.module().get_submodule("model"), described.batches()
        assert val is not None
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
        for number in range(epochs):
            _epoch(module, optimizer, loss, train.epoch(number), val.epoch(0))


def _epoch(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[..., Tensor], train: Any, val: Any
) -> None:
    module.train()
    for x, y in zip(*(each.split(BATCH) for each in train), strict=True):
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        loss(module(val[0]), val[1])


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process for some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(kind: Kind, seeds: int, epochs: int, repeats: int) -> tuple[dict[str, float], str | None]:
    """Milliseconds of a run and epoch for each way, and why it does not stack, where it does not."""
    stack = Stacked(kind, seeds)
    why_not = stack.why_not()
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "plain loop": (lambda: plain_loop(kind, epochs), ALONE),
        "alone": (lambda: alone(kind, epochs), ALONE),
    }
    if why_not is None:
        stack.warm_up(epochs)
        ways["stack"] = (lambda: stack(epochs), seeds)
    for work, _ in ways.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (work, runs) in ways.items():
            found[name].append(cpu(work) * 1e3 / runs / epochs)
    return {name: statistics.median(each) for name, each in found.items()}, why_not


def report(name: str, ms: dict[str, float], why_not: str | None) -> float:
    """Print a model's line; how many times as long as the stack the plain loop takes."""
    stack = ms.get("stack", ms["alone"])
    own = f"{stack:.2f}" if why_not is None else f"alone: {why_not}"
    jax, of_jax = (f"{ms['jax']:.2f}", f"{ms['jax'] / stack:.1f}") if "jax" in ms else ("", "")
    ratios = f"{ms['alone'] / stack:.1f} | {ms['plain loop'] / stack:.1f} | {of_jax}"
    print(f"| {name} | {ms['plain loop']:.2f} | {ms['alone']:.2f} | {own} | {jax} | {ratios} |", flush=True)
    return ms["plain loop"] / stack


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--jax", default=sys.executable)
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_memory()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    program.HOT = 0.0
    wait_for_the_compiler()
    print(f"{machine.processor()}, torch {torch.__version__}, {chosen.seeds} seeds, CPU ms a run and epoch\n")
    print("| model | plain loop | alone | stack | JAX | alone / stack | plain loop / stack | JAX / stack |")
    print("|---|---|---|---|---|---|---|---|")
    python = chosen.jax if has_jax(chosen.jax) else None
    gains = []
    for name, kind in ZOO.items():
        if chosen.only.lower() in name.lower():
            ms, why_not = measure(kind, chosen.seeds, chosen.epochs, chosen.repeats)
            if python and name in MODELS:
                seconds = jax_time(python, name, chosen.seeds, chosen.epochs, chosen.repeats)
                ms["jax"] = seconds * 1e3 / chosen.seeds / chosen.epochs
            gains.append(report(name, ms, why_not))
    mean = math.exp(statistics.fmean(map(math.log, gains)))
    print(f"\ngeometric mean of plain loop / stack: {mean:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
