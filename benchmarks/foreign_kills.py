"""Sweeps of a Hydra program that knows nothing of shoal, whose launcher or workers are killed at any moment.

Usage: python benchmarks/foreign_kills.py [KILLS] [SEED]

The same command is given again after each death, until the sweep is done; then every job must have left what it leaves
in a sweep that nobody killed, once.
"""

from __future__ import annotations

import logging
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support")]

import pytorch_lightning  # noqa: E402, F401  (so that every copy of this process has imported it)
import torch  # noqa: E402

from faults import ended, forked  # noqa: E402
from foreign import differences  # noqa: E402

PROGRAM = ROOT / "examples" / "hydra_programs" / "plain.py"
JOBS = 6
WORDS = ["-m", f"seed=range({JOBS})", "epochs=4", "hydra.sweep.dir=swept/${now:%f}", "hydra/launcher=shoal"]


@dataclass
class KilledPrograms:
    """What became of the sweeps."""

    launchers: int = 0
    """Kills of a launcher."""
    workers: int = 0
    """Kills of a worker process."""
    jobs: int = 0
    once: int = 0
    """Jobs that left exactly what they leave in a sweep left alone."""
    wrong: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """All of them."""
        return self.launchers + self.workers


def killed_programs(folder: Path, n_kills: int, chance: random.Random) -> KilledPrograms:
    """Kill launchers and workers of sweeps, alone and in stacks by turns, `n_kills` times."""
    found, number = KilledPrograms(), 0
    wholes = {stacks: _whole(folder / stacks, stacks) for stacks in ("never", "always")}
    while found.kills < n_kills:
        stacks = ("never", "always")[number % 2]
        path, length = folder / str(number), wholes[stacks]
        while (code := _launched(found, path, stacks, chance.uniform(0, length), chance)) != 0:
            if code is not None and code > 0:
                found.wrong.append(f"{path.name}: the launcher ended with {code}")
                break
        _compare(found, path, folder / stacks)
        number += 1
    return found


def _whole(path: Path, stacks: str) -> float:
    """Sweep without a kill; the seconds that it takes."""
    began = time.monotonic()
    code = ended(_forked(path, stacks), seconds=300)
    if code:
        raise RuntimeError(f"the sweep that nobody killed ended with {code}: see {path}.log")
    return time.monotonic() - began


def _launched(found: KilledPrograms, path: Path, stacks: str, seconds: float, chance: random.Random) -> int | None:
    """Give the command, and kill its launcher or one of its workers after so long; what it ended with, if it has."""
    child = _forked(path, stacks)
    try:
        return ended(child, seconds=seconds, kill=False)
    except TimeoutError:
        wanted = chance.random() < 0.5
        workers = _children(child, seconds=5 if wanted else 0)
    if workers and wanted:
        os.kill(chance.choice(workers), signal.SIGKILL)
        found.workers += 1
        return ended(child, seconds=300)
    os.kill(child, signal.SIGKILL)
    found.launchers += 1
    ended(child)
    until = time.monotonic() + 5
    while left := [each for each in workers if _lives(each)]:
        if time.monotonic() > until:
            found.wrong.append(f"{path.name}: {len(left)} workers outlive their launcher")
            break
        time.sleep(0.01)
    return None


def _forked(path: Path, stacks: str) -> int:
    return forked(partial(_program, path, stacks), log=path.with_suffix(".log"))


def _program(path: Path, stacks: str) -> None:
    """The program, in this process."""
    path.mkdir(parents=True, exist_ok=True)
    os.chdir(path)
    sys.argv = [str(PROGRAM), *WORDS, f"hydra.launcher.stacks={stacks}"]
    torch.set_default_dtype(torch.float64)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    runpy.run_path(str(PROGRAM), run_name="__main__")


def _children(process: int, *, seconds: float) -> list[int]:
    """The workers of a launcher, for which to wait so long where there are none yet."""
    until = time.monotonic() + seconds
    while True:
        try:
            found = [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        except OSError:
            return []
        if found or time.monotonic() > until or not _lives(process):
            return found
        time.sleep(0.01)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _compare(found: KilledPrograms, path: Path, whole: Path) -> None:
    """Count the jobs that left what they leave in the sweep that nobody killed."""
    found.jobs += JOBS
    sweeps = [each for each in (path / "swept").iterdir() if (each / "0").exists()]
    [expected] = (whole / "swept").iterdir()
    if len(sweeps) != 1:
        found.wrong.append(f"{path.name}: {len(sweeps)} directories of one sweep")
        return
    for job in range(JOBS):
        different = differences(sweeps[0] / str(job), expected / str(job), but=["callbacks"])  # paths are in them
        found.once += not different
        found.wrong += [f"{path.name}/{job}: {different[:2]}"] if different else []


def main(n_kills: int = 50, seed: int | None = None) -> int:
    """Kill, and say what came of it."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        found = killed_programs(Path(folder) / "killed", n_kills, random.Random(seed))
    print(*found.wrong, sep="\n")
    print(f"seed {seed}: {found.launchers} launchers and {found.workers} workers killed, ", end="")
    print(f"{found.once} of {found.jobs} jobs exactly once")
    return int(bool(found.wrong))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
