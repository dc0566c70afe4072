"""What workers behind a command cost beside processes of this machine: for a whole sweep, and to start.

    python benchmarks/workers.py [NUMBER OF RUNS [ROUNDS]]

The parabola with so many seeds is trained by two workers of each place, one place after the other, for some rounds;
every second round begins with the last place, so that a machine that grows slower or faster favors none. Told is the
processor time of all processes of the sweep, which other work on the machine hardly changes; then that of one worker
which has next to nothing to train: what it takes to start. With SLURM's daemons here, and root's rights, srun is one of
the places: tests/support/cluster.py begins a cluster.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import cluster

MARK = "SHOAL_BENCHMARK"
TICK = os.sysconf("SC_CLK_TCK")
LOOKS = 20
"""How often it is looked whether a process has the mark, which it gets when it becomes another program."""
EVERY = 0.03
"""Seconds between two looks at the processes: what one spends between the last look and its end is lost."""


def main() -> None:
    """Print the processor time of each place, and how it compares with processes of this machine."""
    n, rounds = [*map(int, sys.argv[1:]), *(1024, 3)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder, slurm(Path(folder)) as settings:
        for title, words, whole in (
            (f"two workers, {n} runs", [f"seed=range({n})"], True),
            ("the start of a worker", ["seed=0", "trainer.max_epochs=1"], False),
        ):
            count = 2 if whole else 1
            where = places(count, slurm=bool(settings))
            found: dict[str, list[float]] = {name: [] for name in where}
            # The first sweep of all reads from the disk, and compiles, what the others find.
            spent(["seed=range(8)", *where["this machine"]], {**os.environ, **settings})
            for number in range(rounds):
                for name in reversed(where) if number % 2 else where:
                    launcher, others = spent([*words, *where[name]], {**os.environ, **settings})
                    found[name].append(launcher + others if whole else others)
            tell(title, found)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Mapping[str, str]]:
    """Variables by which srun finds a cluster; none where there cannot be one."""
    if cluster.missing():
        yield {}
        return
    with cluster.cluster(folder) as settings:
        yield {"SLURM_CONF": str(settings)}


def places(n: int, *, slurm: bool) -> dict[str, list[str]]:
    """Overrides by which `n` workers are somewhere, by the name of the place."""
    here = {"this machine": [f"sweep.processes={n}"]}
    return here | {
        "env": ["workers=command", "workers.command=[env]", f"workers.n={n}"],
        **({"srun": ["workers=slurm", f"workers.n={n}"]} if slurm else {}),
    }


def spent(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds of processor time of the launcher of a sweep, and of all other processes that it leads to."""
    mark = uuid.uuid4().hex
    seen: dict[int, float] = {}
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "shoal.cli", "train", "-m", "task=parabola", *words]
        launcher = subprocess.Popen(
            [*command, f"hydra.sweep.dir={folder}/sweep"],
            env={**environment, MARK: mark, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        watching = threading.Thread(target=watch, args=(mark.encode(), seen, over))
        watching.start()
        code = launcher.wait()
        over.set()
        watching.join()
    if code:
        raise SystemExit(f"{' '.join(words)} ended with exit code {code}")
    return seen.pop(launcher.pid, 0.0), sum(seen.values())


def watch(mark: bytes, seen: dict[int, float], over: threading.Event) -> None:
    """Note the processor time of each process with the mark, again and again."""
    looks = Counter[int]()
    while not over.wait(EVERY):
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            looks[pid] += pid not in seen
            if looks[pid] > LOOKS:
                continue
            with contextlib.suppress(OSError):
                if pid not in seen and mark not in (path / "environ").read_bytes():
                    continue
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                seen[pid] = (int(fields[11]) + int(fields[12])) / TICK


def tell(title: str, found: Mapping[str, Sequence[float]]) -> None:
    """The median of each place, and its ratio to the first one."""
    medians = {name: statistics.median(each) for name, each in found.items()}
    first = next(iter(medians.values()))
    print(title)
    for name, value in medians.items():
        rounds = " ".join(f"{each:.2f}" for each in found[name])
        print(f"  {name:<14}{value:8.2f} s   {value / first:5.2f}   ({rounds})", flush=True)


if __name__ == "__main__":
    main()
