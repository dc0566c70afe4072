"""What a dry run says of a sweep's time, beside what the sweep takes, for sweeps of many kinds.

    python benchmarks/estimate.py                  all kinds, by CPU time
    python benchmarks/estimate.py 'an LSTM' --wall

By CPU time, which other work on the machine hardly changes, the clock of the dry run is the processor time of its own
process. Each sweep is trained by one process in an empty folder. Prints a Markdown table, a line as it is measured, and
exits with 1 where one of the ratios is not within a factor of 1.5.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep import FOLDS, write_table

FACTOR = 1.5
"""How much more or less a sweep may take than what was said."""


def own(module: str, shape: Sequence[int], **settings: bool) -> list[str]:
    """Overrides that take a module of estimate_modules.py, with samples of this shape."""
    data = {"_target_": "estimate_modules.Samples", "shape": list(shape), **settings}
    node = ",".join(f"{name}:{value}" for name, value in data.items()).replace("'", "")
    return ["task=lightning", f"task.module._target_=estimate_modules.{module}", f"task.datamodule={{{node}}}"]


KINDS: Mapping[str, Sequence[str]] = {
    "4 long runs": ["task=parabola", "seed=range(4)", "trainer.max_epochs=200"],
    "64 runs": ["task=parabola", "seed=range(64)", "trainer.max_epochs=100"],
    "256 short runs": ["task=parabola", "seed=range(256)", "trainer.max_epochs=50"],
    "two optimizers": ["task=parabola", "seed=range(32)", "optimizer=adam,sgd", "trainer.max_epochs=100"],
    "a formula's curve": ["task=function", "seed=range(32)", "trainer.max_epochs=100"],
    "classes": ["task=iris", "seed=range(64)", "trainer.max_epochs=100"],
    "12 kinds of stack": ["task=csv", "task.target=y", "task.path=small.csv", "trainer.max_epochs=20", *FOLDS],
    "a wide table": ["task=csv", "task.target=y", "task.path=wide.csv", "trainer.max_epochs=20", "seed=range(32)"],
    "early stopping": [
        *("task=parabola", "seed=range(64)", "trainer.max_epochs=300"),
        *("callbacks=early_stopping", "callbacks.early_stopping.patience=10"),
    ],
    "L-BFGS": ["task=parabola", "seed=range(16)", "optimizer=lbfgs", "task.batch_size=null", "trainer.max_epochs=60"],
    "Levenberg-Marquardt": ["experiment=nist_misra1a", "seed=range(32)"],
    "a GRU": [*own("Recurrent", [20, 1]), "seed=range(32)", "trainer.max_epochs=15"],
    "convolutions": [*own("Convolutional", [1, 8, 8], classes=True), "seed=range(16)", "trainer.max_epochs=15"],
    "a step with the epoch": [*own("Annealed", [8]), "seed=range(32)", "trainer.max_epochs=30"],
    "noise in the samples": [*own("Fitted", [8], noisy=True), "seed=range(16)", "trainer.max_epochs=15"],
    "an LSTM, alone": [*own("LongMemory", [20, 1]), "seed=range(6)", "trainer.max_epochs=60"],
    "a branch, alone": [*own("Branching", [8]), "seed=range(12)", "trainer.max_epochs=30"],
    "engine=lightning": ["task=parabola", "seed=range(6)", "engine=lightning", "trainer.max_epochs=60"],
}
SHOAL = """
import sys, time
if "--wall" not in sys.argv:
    time.perf_counter = time.process_time
from shoal import startup
# What the next line imports a command imports after it has begun.
startup.seconds_since_begun = time.process_time
from shoal.cli import train
from shoal.sweeps import estimate
tried = estimate.estimated
def told(*of):
    found = tried(*of)
    print("seconds:", found.seconds, file=sys.stderr)
    return found
estimate.estimated = told
sys.argv = [each for each in sys.argv if each != "--wall"]
sys.exit(train())
"""
"""A command that tells the seconds of a dry run, which the terminal rounds."""


def ran(words: Sequence[str], folder: str, *, wall: bool) -> tuple[float, str]:
    """Seconds of a sweep or its dry run in this folder, and what it said.

    Raises:
        SystemExit: where it fails, with what it said.
    """
    command = [sys.executable, "-c", SHOAL, *(["--wall"] if wall else []), "-m", "sweep.processes=0", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    taken, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if found.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{found.stdout[-2000:]}{found.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return taken if wall else cpu, found.stderr


def measured(words: Sequence[str], *, wall: bool) -> tuple[float, float]:
    """Seconds that a dry run says, and those that the sweep takes."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "small.csv", 300, 5)
        write_table(Path(folder) / "wide.csv", 1438, 64)
        _, output = ran([*words, "sweep.dry_run=true"], folder, wall=wall)
        [said] = re.findall(r"^seconds: ([\d.]+)", output, re.MULTILINE)
        return float(said), ran(words, folder, wall=wall)[0]


def main() -> None:
    """Measure the kinds that are asked for, and say by the exit code whether all are within the factor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="of the sweeps (default: all)")
    parser.add_argument("--wall", action="store_true", help="measure wall time: on a machine without other work")
    asked = parser.parse_args()
    print(f"| sweep | said, {'wall' if asked.wall else 'CPU'} s | took | said / took |\n|---|--:|--:|--:|")
    ratios = []
    for kind in asked.kinds or KINDS:
        said, took = measured(KINDS[kind], wall=asked.wall)
        ratios.append(said / took)
        print(f"| {kind} | {said:.1f} | {took:.1f} | {said / took:.2f} |", flush=True)
    sys.exit(not all(1 / FACTOR < ratio < FACTOR for ratio in ratios))


if __name__ == "__main__":
    main()
