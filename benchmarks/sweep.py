"""Time sweeps of the parabola as whole processes, side by side with what one would write without shoal.

    python benchmarks/sweep.py                     all parts, one round
    python benchmarks/sweep.py throughput --rounds 5

throughput  256 runs (4 learning rates x 64 seeds, 100 epochs, everything recorded) by one command of shoal; jobs of the
            usual template's sequential multirun; and the plain in-memory loop, its process started once.
            Of the template only `--jobs` jobs are run: the seconds of a further job, times 256, plus the start.
growth      wall seconds a run from 1 to 4096 runs, and the memory of the largest process.
around      wall milliseconds a job around the training: 1,000 and 2,000 jobs of next to no training, and their slope.
many        10,000 such jobs: milliseconds a job, and how many of them sweep.json and their own run.json call completed.
tables      CPU seconds in one process, 20 epochs: 540 runs over 300 rows (108 settings by 5 folds, 12 kinds of stack),
            the same as a dry run, and 32 seeds over 1,438 rows of 64 columns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
SHOAL = [str(HERE.parent / "train.py"), "-m", "task=parabola"]
TEMPLATE = [str(HERE / "lightning_hydra_template" / "train.py"), "-m"]
RATES = "optimizer.lr=1e-4,1e-3,1e-2,1e-1"
FOLDS = ["optimizer.lr=3e-4,1e-3,3e-3", "optimizer.weight_decay=0,1e-4,1e-2", "model.hidden=[8],[16],[32]"]
FOLDS += ["model.activation=relu,tanh,silu,gelu", "task.folds=5", "task.fold=range(5)"]
TINY = ["task.n_samples=40", "task.batch_size=32", "model.hidden=[4]", "trainer.max_epochs=1"]
COMMON = ["trainer.max_epochs=20", "sweep.processes=0"]
N_RUNS = 256


def seconds(arguments: list[str], look: Callable[[Path], None] = lambda folder: None) -> float:
    """Wall time of a Python program in an empty folder, one thread a process; `look` sees what it left there.

    Raises:
        SystemExit: where it fails, with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        found = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        taken = time.perf_counter() - began
        look(Path(folder))
    if found.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{found.stdout[-2000:]}{found.stderr[-2000:]}")
    return taken


def plain_seconds() -> float:
    """Seconds of one run of the plain in-memory loop, imports and the first run left out."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    times = []
    for seed in range(4):
        began = time.perf_counter()
        torch.manual_seed(seed)
        x = torch.rand(2048, 1) * 2 - 1
        y = x**2 + 0.03 * torch.randn_like(x)
        model = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        for _ in range(100):
            order = torch.randperm(1638)
            for batch in order.split(128):
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(x[batch]), y[batch])
                torch.autograd.backward(loss)
                optimizer.step()
            with torch.no_grad():
                for first in range(1638, 2048, 256):
                    torch.nn.functional.mse_loss(model(x[first : first + 256]), y[first : first + 256]).item()
        times.append(time.perf_counter() - began)
    return median(times[1:])


def throughput(n_jobs: int) -> dict[str, float]:
    """Measure 1: seconds a run of each, and the ratios."""
    ours = seconds([*SHOAL, RATES, "seed=range(64)"]) / N_RUNS
    one = seconds([*TEMPLATE, "seed=0"])
    some = seconds([*TEMPLATE, f"seed=range({n_jobs})"])
    further = (some - one) / (n_jobs - 1)
    template = (one + further * (N_RUNS - 1)) / N_RUNS
    plain = plain_seconds()
    processes = len(os.sched_getaffinity(0))
    return {
        "shoal, ms a run": ours * 1e3,
        "template, ms a run": template * 1e3,
        "plain loop, ms a run": plain * 1e3,
        "template / shoal": template / ours,
        "plain loop / shoal, per process": plain / (ours * processes),
    }


def growth() -> dict[str, float]:
    """Measure 2: seconds a run by the number of runs."""
    found = {}
    for n in (1, 16, 64, 256, 1024, 4096):
        found[f"{n} runs, ms a run"] = seconds([*SHOAL, f"seed=range({n})"]) / n * 1e3
        found[f"{n} runs, MB of the largest process"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    return found


def around() -> dict[str, float]:
    """Measure 4: milliseconds a job around the training."""
    few, many = (seconds([*SHOAL, *TINY, f"seed=range({n})"]) for n in (1000, 2000))
    return {
        "1000 jobs, ms a job with the start": few,
        "2000 jobs, ms a job with the start": many / 2,
        "ms a further job": many - few,
    }


def write_table(path: Path, rows: int, columns: int) -> None:
    """A table of numbers, of which the last column is a function of the others."""
    import numpy

    x = numpy.random.default_rng(0).normal(size=(rows, columns))
    y = numpy.sin(x.sum(1)) + 0.1 * x[:, 0]
    names = ",".join([*(f"x{i}" for i in range(columns)), "y"])
    numpy.savetxt(path, numpy.column_stack([x, y]), delimiter=",", header=names, comments="")


def tables() -> dict[str, float]:
    """Measure 5: CPU seconds of sweeps over tables, all in one process."""

    def cpu_seconds(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds([str(HERE.parent / "train.py"), "-m", "task=csv", "task.target=y", *COMMON, *words])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        small, digits = Path(folder) / "small.csv", Path(folder) / "digits.csv"
        write_table(small, 300, 5)
        write_table(digits, 1438, 64)
        return {
            "540 runs of 300 rows, CPU s": cpu_seconds(f"task.path={small}", *FOLDS),
            "540 runs of 300 rows, dry run, CPU s": cpu_seconds(f"task.path={small}", *FOLDS, "sweep.dry_run=true"),
            "32 seeds of 1,438 rows, CPU s": cpu_seconds(f"task.path={digits}", "seed=range(32)"),
        }


def many(n: int = 10_000) -> dict[str, float]:
    """Measure 4: every one of ten thousand jobs is accounted for."""
    completed: list[int] = []

    def count(folder: Path) -> None:
        [sweep] = (folder / "outputs" / "parabola").iterdir()
        jobs = json.loads((sweep / "sweep.json").read_text())["jobs"]
        completed.append(sum(job["status"] == "completed" for job in jobs))
        runs = [json.loads(each.read_text()) for each in sweep.glob("*/run.json")]
        completed.append(sum(run["status"] == "completed" for run in runs))

    taken = seconds([*SHOAL, *TINY, f"seed=range({n})"], count)
    return {
        f"{n} jobs, ms a job": taken / n * 1e3,
        "completed in sweep.json": completed[0],
        "completed in run.json": completed[1],
        "MB of the largest process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
    }


def main() -> None:
    """Print the median of each number over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["throughput", "growth", "around", "many", "tables"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=4, help="jobs of the template that are run, of 256")
    given = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "throughput": lambda: throughput(given.jobs),
        "growth": growth,
        "around": around,
        "many": many,
        "tables": tables,
    }
    for part in given.parts:
        rounds = [parts[part]() for _ in range(given.rounds)]
        print(f"| {part} | median of {given.rounds} |\n|---|---|")
        for name in rounds[0]:
            print(f"| {name} | {median(each[name] for each in rounds):.1f} |")


if __name__ == "__main__":
    main()
