"""Time `shoal fit` as a whole process beside the start of torch, in turns, and what of it is imports.

    python benchmarks/single_fit.py --rounds 7

Prints a Markdown table of medians: wall seconds, and CPU seconds of the process and its children, each one's ratio to
`import torch`, taken round by round. The figure is drawn by a process beside the fit: on one core both take the sum.
Modules are compiled before the rounds that count, as an installation does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

TABLE = "y,x\n" + "".join(f"{240 * (1 - 2.718281828 ** (-0.00055 * x)):.2f},{x}\n" for x in range(75, 775, 50))
OWN = "from shoal.startup import cheap_imports, defer\ndefer(own_process=True)\nwith cheap_imports():\n"
PROGRAMS = {
    "`import torch`": ["-c", "import torch"],
    "torch as shoal imports it": ["-c", f"{OWN} import torch"],
    "and Lightning": ["-c", f"{OWN} import pytorch_lightning"],
    "and polars, Hydra": ["-c", f"{OWN} import pytorch_lightning, polars, hydra.main"],
    "matplotlib, beside": ["-c", "import shoal.pictures.rendering"],
    "`shoal fit`": ["-m", "shoal.cli", "fit", "t.csv", "y = b1*(1-exp(-b2*x))", "b1=500", "b2=1e-4"],
}


def timed(arguments: Sequence[str], folder: str) -> tuple[float, float]:
    """CPU and wall seconds of a Python program, on one thread.

    Raises:
        SystemExit: where it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: {' '.join(arguments)} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def main() -> None:
    """Time the programs in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (default: 7)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "t.csv").write_text(TABLE)
        found = [{name: timed(arguments, folder) for name, arguments in PROGRAMS.items()} for _ in range(rounds + 1)][
            1:
        ]
    print("| program | wall s | times torch | CPU s | times torch |")
    print("|---|---|---|---|---|")
    base = next(iter(PROGRAMS))
    for name in PROGRAMS:
        cells = []
        for i in (1, 0):
            seconds = median(each[name][i] for each in found)
            ratio = median(each[name][i] / each[base][i] for each in found)
            cells.append(f"{seconds:.2f} | {ratio:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
