"""How long `shoal runs` takes: on nothing, and on ten thousand runs, with warm and with cold disk caches.

    python benchmarks/review.py [NUMBER OF RUNS]

Cold caches need root, on Linux; without, only the warm figures are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from runs import curve, make_run

_REPEATS = 7
_CACHES = Path("/proc/sys/vm/drop_caches")


def main() -> None:
    """Make the runs and print the medians."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "outputs"
        rows = curve(1, lr=0.01, seed=0)
        for seed in range(n):
            make_run(root, rows=rows, figure=False, settings={"seed": seed, "optimizer.lr": 1e-3 * (seed % 97 + 1)})
        print(f"{'nothing':<44}{median(['runs', '--root', folder + '/none']):.2f} s")
        for title, words in (
            ("listed", ["runs"]),
            ("sorted by a metric, the best 10", ["runs", "--sort", "val/loss", "--top", "10"]),
            ("a condition on a metric", ["runs", "--where", "val/loss < 0.1"]),
            ("a condition on a setting (opens config.yaml)", ["runs", "--where", "optimizer.lr < 0.01"]),
        ):
            print(f"{title:<44}{median([*words, '--root', str(root)]):.2f} s")
        if os.access(_CACHES, os.W_OK):
            print(f"{'listed, cold disk caches':<44}{median(['runs', '--root', str(root)], cold=True):.2f} s")


def median(words: list[str], *, cold: bool = False) -> float:
    """Median seconds of the whole process."""
    seconds = []
    for _ in range(_REPEATS):
        if cold:
            os.sync()
            _CACHES.write_text("3")
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "shoal.cli", *words], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
