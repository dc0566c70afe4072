"""How long `shoal runs` takes: on nothing, and on ten thousand runs, with warm and with cold disk caches.

    python benchmarks/review.py [NUMBER OF RUNS]

One run is trained, and its record (run.json, config.yaml, metrics.csv) is written again under other ids, seeds,
learning rates and losses. Figures are minima of several calls, since others may use the machine; the processor time
stands beside them. Cold caches need root, on Linux; without, only the warm figures are printed.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

_REPEATS = 9
_CACHES = Path("/proc/sys/vm/drop_caches")
_ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Make the runs and print the minima."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "outputs"
        make_runs(root, n)
        print(f"{f'{n:,} runs':<44}{'wall':>7}{'CPU':>9}")
        show("nothing", ["runs", "--root", folder + "/none"])
        for title, words in (
            ("listed", ["runs"]),
            ("the newest 10", ["runs", "--top", "10"]),
            ("sorted by a metric, the best 10", ["runs", "--sort", "val/loss", "--top", "10"]),
            ("a condition on a metric", ["runs", "--where", "val/loss < 0.1"]),
            ("a condition on a setting (opens config.yaml)", ["runs", "--where", "optimizer.lr < 0.01"]),
        ):
            show(title, [*words, "--root", str(root)])
        if os.access(_CACHES, os.W_OK):
            show("listed, cold disk caches", ["runs", "--root", str(root)], cold=True)


def make_runs(root: Path, n: int) -> None:
    """`n` runs below the root, with the record that a run of one epoch leaves."""
    words = ["task=parabola", "trainer.max_epochs=1", "threads=1", f"outputs={root}"]
    subprocess.run([sys.executable, str(_ROOT / "train.py"), *words], check=True, stdout=subprocess.DEVNULL)
    (trained,) = (root / "parabola").iterdir()
    info, history = json.loads((trained / "run.json").read_text()), (trained / "metrics.csv").read_bytes()
    config, began = (trained / "config.yaml").read_text(), datetime.fromisoformat(info["started"])
    letters = random.Random(0)
    for seed in range(n - 1):
        started = began - timedelta(seconds=seed + 1)
        name = f"{started:%Y%m%d-%H%M%S}-{''.join(letters.choices('abcdefghjkmnpqrstuvwxyz23456789', k=6))}"
        lr, loss = 1e-3 * (seed % 97 + 1), letters.random()
        overrides = ["task=parabola", f"optimizer.lr={lr:g}", f"seed={seed}"]
        run = {**info, "id": name, "seed": seed, "started": started.isoformat(timespec="milliseconds")}
        run |= {"overrides": overrides, "command": ["train.py", *overrides]}
        run |= {"final": {**info["final"], "val/loss": loss}, "best": {**info["best"], "value": loss}}
        folder = root / "parabola" / name
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(run, indent=2))
        (folder / "config.yaml").write_text(
            config.replace("seed: 0", f"seed: {seed}").replace("lr: 0.001", f"lr: {lr}")
        )
        (folder / "metrics.csv").write_bytes(history)


def show(title: str, words: list[str], *, cold: bool = False) -> None:
    """Print the least seconds that the whole process takes, and the least that it computes."""
    wall, processor = [], []
    for _ in range(_REPEATS):
        if cold:
            os.sync()
            _CACHES.write_text("3")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "shoal.cli", *words], check=True, stdout=subprocess.DEVNULL)
        wall.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"{title:<44}{min(wall):5.2f} s{min(processor):7.2f} s")


if __name__ == "__main__":
    main()
