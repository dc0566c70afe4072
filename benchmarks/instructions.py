"""What each setting of the instructions costs, and in which of them a product depends on the number of matrices.

    python benchmarks/instructions.py --rounds 5

Of each setting a process of its own, on one thread: CPU microseconds of products of matrices, how many of 882 shapes
give a row other bits in a batch of 2, 3 or 7 than in one of 64, and CPU seconds of a run and of a stack of 64 runs.
Prints a Markdown table of medians, after the processor's name.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import torch

from shoal.instructions import EVERYWHERE
from shoal.machine import processor

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "`MKL_CBWR` empty": {"MKL_CBWR": ""},
    **{
        f"`MKL_CBWR={value}`": {"MKL_CBWR": value}
        for value in ("AUTO", "AVX2", "AVX512", "COMPATIBLE", "AUTO,STRICT", "AVX2,STRICT")
    },
    "`numerics=portable`": EVERYWHERE,
}
PRODUCTS = ((1, 128, 32, 32), (1, 512, 512, 512), (64, 128, 32, 32), (64, 128, 33, 7))
"""Matrices, rows, inner columns, columns."""
ROWS, INNER, COLUMNS = (1, 3, 5, 7, 16, 32, 33, 64, 128), (1, 2, 7, 16, 32, 33, 64), (1, 3, 7, 16, 32, 33, 64)
TYPES = (torch.float32, torch.float64)


def measured(work: Callable[[], object], seconds: float = 0.2) -> float:
    """CPU microseconds of a call: the quickest of many."""
    work()
    quickest, end = float("inf"), time.thread_time() + seconds
    while time.thread_time() < end:
        began = time.thread_time()
        work()
        quickest = min(quickest, time.thread_time() - began)
    return quickest * 1e6


def dependent() -> int:
    """Of how many shapes and types the products depend on the number of matrices."""
    generator = torch.Generator().manual_seed(0)
    count = 0
    for m, k, n, dtype in itertools.product(ROWS, INNER, COLUMNS, TYPES):
        a = torch.randn(64, m, k, generator=generator, dtype=dtype)
        b = torch.randn(64, k, n, generator=generator, dtype=dtype)
        whole = torch.bmm(a, b)
        count += any(not torch.equal(torch.bmm(a[:size], b[:size]), whole[:size]) for size in (2, 3, 7))
    return count


def fit(overrides: list[str], *, many: bool) -> float:
    """CPU seconds of this process while it trains; what it imports first is not counted."""
    import shoal

    call = shoal.sweep if many else shoal.train
    began = time.process_time()
    call([*overrides, "callbacks=quiet"])
    return time.process_time() - began


def report() -> dict[str, float]:
    """What is measured in one process under the setting in its environment."""
    torch.set_num_threads(1)
    portable = ["numerics=portable"] if EVERYWHERE.items() <= os.environ.items() else []
    found = {}
    for size, m, k, n in PRODUCTS:
        a, b = torch.randn(size, m, k), torch.randn(size, k, n)
        found[f"{size} of {m}x{k}x{n}, us"] = measured(partial(torch.bmm, a, b))
    found["shapes that depend"] = dependent()
    fit(["trainer.max_epochs=1", *portable], many=False)
    found["a run, s"] = fit(portable, many=False)
    sweep = ["seed=range(64)", "sweep.processes=0", *portable]
    found["a stack of 64, s"] = fit(sweep, many=True)
    return found


def main() -> None:
    """Measure the settings in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        sys.stdout.write("\n" + json.dumps(report()) + "\n")
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(options.rounds):
        for name, variables in SETTINGS.items():
            rounds[name].append(in_a_process(variables))
    print(f"{processor()}, torch {torch.__version__}\n")
    columns = list(rounds["`numerics=portable`"][0])
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, found in rounds.items():
        print(f"| {name} | {' | '.join(f'{median(each[column] for each in found):.4g}' for column in columns)} |")


def in_a_process(variables: Mapping[str, str]) -> dict[str, float]:
    """The report of a process with these variables in its environment.

    Raises:
        SystemExit: where it fails, with what it said.
    """
    given = {key: value for key, value in os.environ.items() if key not in EVERYWHERE}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--here"]
        environment = {**given, **variables, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
