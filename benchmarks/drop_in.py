"""CPU seconds of a sweep of a plain Hydra and Lightning program, with Hydra's own launcher and with shoal's.

Usage: python benchmarks/drop_in.py [JOBS] [EPOCHS]

The program is that of lightning_hydra_template/, which knows nothing of shoal. Both sweeps run one after the other,
with one thread a process; the CPU seconds of all their processes are compared, start and imports included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from shoal.machine import processor

PROGRAM = Path(__file__).parent / "lightning_hydra_template" / "train.py"
QUIET = ["~callbacks.rich_progress_bar", "+trainer.enable_progress_bar=false", "+trainer.enable_model_summary=false"]


def cpu_seconds(folder: Path, words: list[str]) -> float:
    """Those of all processes of a sweep in this directory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, str(PROGRAM), "-m", *QUIET, *words, f"hydra.sweep.dir={folder}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(jobs: int = 32, epochs: int = 20) -> None:
    """Compare a sweep over seeds."""
    words = [f"seed=range({jobs})", f"trainer.max_epochs={epochs}", "data.batch_size=16"]
    with tempfile.TemporaryDirectory() as folder:
        once = cpu_seconds(Path(folder) / "start", ["seed=range(1)", "trainer.max_epochs=1"])
        stacked = cpu_seconds(Path(folder) / "shoal", [*words, "hydra/launcher=shoal"])
        basic = cpu_seconds(Path(folder) / "basic", words)
    print(processor())
    print(
        f"{jobs} jobs of {epochs} epochs: basic {basic:.1f} s, shoal {stacked:.1f} s, {basic / stacked:.2f} times less"
    )
    print(f"of both {once:.1f} s for start, imports and a job of one epoch")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
