"""Checks and times stacks on a GPU, beside the CPU with one thread: the reference parabola, Adam, batches of 128.

    python benchmarks/gpu.py [--sizes 2,64,256,1024,4096] [--epochs 20]

It checks that the losses of a stack on the GPU are those of one on the CPU (in float64 to 1e-9, in float32 to 1e-2,
with precision=bf16-mixed to 0.2), without dropout and with it, and says whether two trainings have the same bits, and
a run in two stacks of other sizes. It exits with 1 where a check fails; without a GPU it says so and exits with 0.
Seconds are of the wall clock, the second of two trainings: traces and the GPU's own start are in the first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import product
from typing import Any, NoReturn

import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator

from shoal import machine
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.losses import MeanSquaredError
from shoal.models import MLP
from shoal.names import VAL_LOSS
from shoal.optimizers import Adam
from shoal.rundir.log import quiet_logging
from shoal.schedulers import Constant
from shoal.tasks import Parabola

CHECKED = {"64-true": 1e-9, "32-true": 1e-2, "bf16-mixed": 0.2}
"""By precision, the largest relative difference of a loss that is let pass."""
N = 8
"""Runs of the stack that is checked."""


class Losses:
    """The validation loss of each run after each epoch."""

    def __init__(self) -> None:
        self.of: dict[int, list[float]] = {}

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        for each in epochs:
            self.of.setdefault(each.run, []).append(each.metrics[VAL_LOSS])

    def is_asked_to_stop(self) -> bool:
        return False

    def stopped(self, running: Running) -> NoReturn:
        raise AssertionError


def job(seed: int, accelerator: str, precision: str, epochs: int, dropout: float) -> Job:
    """The reference parabola."""
    trainer: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": 1,
        "max_epochs": epochs,
        "precision": precision,
        "num_sanity_val_steps": 0,
    }
    return Job(
        task=Parabola(seed=seed, n_samples=2048, batch_size=128, val_batch_size=256),
        model=MLP(hidden=(32, 32), dropout=dropout),
        loss=MeanSquaredError(),
        optimizer=Adam(lr=1e-3),
        scheduler=Constant(),
        trainer=trainer,
        callbacks={},
        loggers={},
        seed=seed,
        engine="vectorized",
        config={},
    )


def trained(
    n: int, accelerator: str, precision: str, epochs: int, dropout: float = 0.0
) -> tuple[dict[int, list[float]], float]:
    """The losses of each run, and the seconds that the second of two trainings took."""
    steps = None
    for _ in range(2):
        members = [Member.of(job(seed, accelerator, precision, epochs, dropout)) for seed in range(n)]
        running = Running(members, steps)
        if steps is None and (unlike := unlike_alone(running)):
            sys.exit(f"a stack on {running.stack.device} is unlike its runs alone: {next(iter(unlike.values()))}")
        steps, losses, began = running.steps, Losses(), time.perf_counter()
        driver.fit(running, losses)
        seconds = time.perf_counter() - began
    return losses.of, seconds


def check(accelerator: str, epochs: int) -> bool:
    """Compare losses with those of the CPU, and bits with each other."""
    good = True
    for (precision, limit), dropout in product(CHECKED.items(), (0.0, 0.1)):
        here, _ = trained(N, "cpu", precision, epochs, dropout)
        there, _ = trained(N, accelerator, precision, epochs, dropout)
        again, _ = trained(N, accelerator, precision, epochs, dropout)
        larger, _ = trained(4 * N, accelerator, precision, epochs, dropout)
        pairs = zip(torch.tensor(list(here.values())), torch.tensor(list(there.values())), strict=True)
        off = max(float(((one - other).abs() / one.abs()).max()) for one, other in pairs)
        good &= off <= limit
        told = "as it should be" if off <= limit else f"MORE than {limit:g}"
        same = ("the same bits" if there == again else "other bits", all(larger[run] == there[run] for run in there))
        print(f"{precision:>10}, dropout {dropout:g}: losses differ from the CPU's by {off:.1e}, {told}; trained again "
              f"{same[0]}; in a stack of {4 * N} {'the same' if same[1] else 'other'} bits")  # fmt: skip
    return good


def time_it(accelerator: str, sizes: Sequence[int], epochs: int) -> None:
    """Print milliseconds a run for a hundred epochs, by the size of the stack."""
    print(f"{'runs':>10} {'CPU ms a run':>14} {'32-true':>10} {'bf16-mixed':>12}")
    for n in sizes:
        ways = (("cpu", "32-true"), (accelerator, "32-true"), (accelerator, "bf16-mixed"))
        found = [1e3 * trained(n, *way, epochs)[1] / n * 100 / epochs for way in ways]
        print(f"{n:>10} {found[0]:>14.1f} {found[1]:>10.1f} {found[2]:>12.1f}")


def main() -> int:
    """Check and time; whether a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="2,64,256,1024,4096")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--accelerator", default="gpu", help="cpu shows that the script itself runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.accelerator == "gpu" and not (CUDAAccelerator.is_available() or MPSAccelerator.is_available()):
        print("There is no GPU here: nothing was checked and nothing timed.")
        return 0
    device = torch.cuda.get_device_name() if CUDAAccelerator.is_available() else given.accelerator
    print(f"{device} beside {machine.processor()}, torch {torch.__version__}")
    with quiet_logging():  # each training would say what it found of devices, between the lines of the table
        good = check(given.accelerator, given.epochs)
        time_it(given.accelerator, [int(size) for size in given.sizes.split(",")], given.epochs)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
