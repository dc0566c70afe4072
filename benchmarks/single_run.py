"""Time one run of the parabola as whole processes, in turn: plain loop, the usual template, shoal with everything on.

    python benchmarks/single_run.py --rounds 9

Prints a Markdown table of medians: wall and CPU seconds (of the process and its children), the seconds of the fit,
and each one's ratio to the plain loop, taken round by round so that a drift of the machine's speed cancels out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PROGRAMS = {
    "plain PyTorch loop": [str(HERE / "plain_loop.py")],
    "Lightning + Hydra template": [str(HERE / "lightning_hydra_template" / "train.py")],
    "shoal": [str(HERE.parent / "train.py"), "task=parabola"],
}
FIT = re.compile(r"fit seconds: ([\d.]+)")


@dataclass(frozen=True)
class Timing:
    """Seconds of one process."""

    wall: float
    cpu: float
    fit: float


def timed(arguments: Sequence[str], folder: Path) -> Timing:
    """Run a Python program in an empty folder, on one thread.

    Raises:
        SystemExit: where the program fails, with what it said.
    """
    log = folder / "output.txt"
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    if status:
        sys.exit(f"error: {' '.join(arguments)} failed\n{log.read_text()}")
    return Timing(wall, usage.ru_utime + usage.ru_stime, fit_seconds(folder, log.read_text()))


def fit_seconds(folder: Path, output: str) -> float:
    """The seconds of the fit, as the program printed or recorded them."""
    for record in folder.rglob("run.json"):
        return float(json.loads(record.read_text())["fit_seconds"])
    found = FIT.search(output)
    return float(found[1]) if found else float("nan")


def measured(rounds: int) -> dict[str, list[Timing]]:
    """Timings of each program, one a round, after a round that does not count."""
    timings: dict[str, list[Timing]] = {name: [] for name in PROGRAMS}
    for number in range(rounds + 1):
        for name, arguments in PROGRAMS.items():
            with tempfile.TemporaryDirectory() as folder:
                timing = timed(arguments, Path(folder))
            if number:
                timings[name].append(timing)
            print(f"round {number or 'warm-up'}: {name} {timing.cpu:.2f} CPU s", file=sys.stderr)
    return timings


def table(timings: dict[str, list[Timing]]) -> str:
    """The medians, and the medians of the rounds' ratios to the first program, in Markdown."""
    plain = next(iter(timings.values()))
    lines = ["| whole process | wall s | CPU s | fit s | wall | CPU | fit |", "|---|---|---|---|---|---|---|"]
    for name, own in timings.items():
        seconds = [f"{median(getattr(t, kind) for t in own):.2f}" for kind in ("wall", "cpu", "fit")]
        ratios = [
            f"{median(getattr(t, kind) / getattr(p, kind) for t, p in zip(own, plain, strict=True)):.2f}"
            for kind in ("wall", "cpu", "fit")
        ]
        lines.append(f"| {name} | {' | '.join(seconds + ratios)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Time one run of the parabola beside other programs.")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (default: 7)")
    print(table(measured(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
