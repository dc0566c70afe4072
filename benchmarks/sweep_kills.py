"""A sweep whose launcher is killed again and again, until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from faults import ended, forked, in_child
from faults.state import differences, state
from shoal.cli import train as main
from shoal.rundir import Status, SweepDir, read_info, read_sweep

SMALL = [
    "task.n_samples=40",
    "task.batch_size=8",
    "model.hidden=[4]",
    "trainer.max_epochs=3",
    "callbacks=quiet",
    "callbacks.checkpoint.every_seconds=0",
    "sweep.block=8",
]
SHELL = "import sys; from shoal.cli import train as main; sys.exit(main(sys.argv[1:]))"
MARK = "SHOAL_TORTURE"
"""Variable in the environment by which processes that outlive their launcher are found."""


@dataclass
class Killed:
    """What became of a sweep."""

    jobs: int
    kills: int = 0
    cold: int = 0
    """Kills of a launcher that was started from the command line, with worker processes."""
    once: int = 0
    orphans: int = 0
    wrong: list[str] = field(default_factory=list)


def killed_launchers(folder: Path, n_jobs: int, n_kills: int, chance: random.Random) -> Killed:
    """Kill the launcher of a sweep in both engines `n_kills` times; compare all runs with those of one left alone.

    Fewer times where the sweep is done before.
    """
    n_jobs -= n_jobs % 2
    words = ["-m", *SMALL, f"seed=range({n_jobs // 2})", "engine=auto,lightning"]
    path, whole = folder / "killed", folder / "whole"
    folder.mkdir(parents=True)
    found = Killed(n_jobs)
    in_child(lambda: main([*words, f"hydra.sweep.dir={whole}", "sweep.processes=0"]), log=folder / "log")
    while found.kills < n_kills and _done(path) < n_jobs:
        cold = found.kills % 5 == 4
        _killed_once(found, path, words, cold=cold, share=n_jobs / n_kills, chance=chance)
    in_child(lambda: main([*words, f"hydra.sweep.dir={path}", "sweep.processes=0"]), log=folder / "log")
    _compare(found, SweepDir(path), SweepDir(whole))
    return found


def _killed_once(
    found: Killed, path: Path, words: list[str], *, cold: bool, share: float, chance: random.Random
) -> None:
    """Start the launcher, and kill it after some runs; every fifth time at any moment, also before the first run."""
    child, end = _cold(path, words) if cold else _warm(path, words)
    wanted = _done(path) + chance.uniform(0, 1.8 * share)
    deadline = time.monotonic() + (chance.uniform(0, 5) if chance.random() < 0.2 else 60)
    while _done(path) < wanted and time.monotonic() < deadline and end(0.01) is None:
        pass
    time.sleep(chance.uniform(0, 0.1))
    killed = end(0) is None
    if killed:
        os.kill(child, signal.SIGKILL)
        end(30)
    found.kills += killed
    found.cold += killed and cold
    found.orphans += len(_outliving()) if cold else 0


def _warm(path: Path, words: list[str]) -> tuple[int, Callable[[float], int | None]]:
    """A launcher that is a copy of this process and trains itself."""
    child = forked(lambda: main([*words, f"hydra.sweep.dir={path}", "sweep.processes=0"]), log=path.parent / "log")
    code: list[int] = []

    def end(seconds: float) -> int | None:
        if not code:
            try:
                code.append(ended(child, seconds=seconds, kill=False))
            except TimeoutError:
                return None
        return code[0]

    return child, end


def _cold(path: Path, words: list[str]) -> tuple[int, Callable[[float], int | None]]:
    """A launcher from the command line, with two workers."""
    command = [sys.executable, "-c", SHELL, *words, f"hydra.sweep.dir={path}", "sweep.processes=2"]
    with (path.parent / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, MARK: "1"})

    def end(seconds: float) -> int | None:
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    return process.pid, end


def _done(path: Path) -> int:
    """How many runs have a checkpoint: what can be counted fast while they train."""
    return sum(os.path.exists(f"{path}/{name}/checkpoints/last.ckpt") for name in _names(path))


def _names(path: Path) -> list[str]:
    return [name for name in os.listdir(path) if name.isdecimal()] if path.is_dir() else []


def _outliving(seconds: float = 5.0) -> list[int]:
    """Processes of a cold launcher that are there so long after it; one that is importing sees its end afterwards."""
    until = time.monotonic() + seconds
    while (left := _marked()) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _marked() -> list[int]:
    """Processes of a cold launcher that are still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}=1".encode() in (folder / "environ").read_bytes()
            zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if marked and not zombie:
            found.append(int(folder.name))
    return found


def _compare(found: Killed, sweep: SweepDir, whole: SweepDir) -> None:
    """Count the jobs that have one run, complete and equal to the bit to that of the sweep that was left alone."""
    jobs = read_sweep(sweep.info).jobs
    expected = {job.hash: whole.run(job) for job in read_sweep(whole.info).jobs}
    rows = sweep.summary.read_text().splitlines()[1:]
    accounted = len(jobs) == len(expected) == len({job.run for job in jobs}) == len(_names(sweep.path)) == len(rows)
    for job in jobs:
        run = sweep.run(job)
        complete = job.status is Status.COMPLETED and read_info(run.info).status is Status.COMPLETED
        different = differences(state(expected[job.hash].path), state(run.path)) if complete else ["not completed"]
        found.once += accounted and not different
        found.wrong += [f"{job.run}: {different[:3]}"] if different else []
    print(*found.wrong[:5], sep="\n", flush=True)
