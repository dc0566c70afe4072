"""The long form of the fault tests: kills, failing writes, full disks, flipped bits and simultaneous starts, counted.

`make torture` runs it and writes docs/reliability.md. `--kills 100 --flips 1000` shortens it; the seed is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

import torch  # noqa: E402

from faults import Faults, NoMount, bits, ended, flipped, forked, in_child, small_disk  # noqa: E402
from faults.state import differences, state  # noqa: E402
from shoal.app.resume import resume  # noqa: E402
from shoal.app.start import start  # noqa: E402
from shoal.errors import DamagedError, ShoalError  # noqa: E402
from shoal.record import figures  # noqa: E402
from shoal.record.checkpoint import load  # noqa: E402
from shoal.rundir import RunDir, Status, read_info, unsealed  # noqa: E402

RUN = [
    "task.n_samples=50",
    "task.batch_size=8",
    "model.hidden=[6]",
    "model.dropout=0.2",
    "trainer.max_epochs=8",
    "trainer.gradient_clip_val=0.5",
    "scheduler=cosine",
    "callbacks=early_stopping",
    "callbacks.progress=null",
    "callbacks.checkpoint.every_n_train_steps=3",
]
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(8) + (1).to_bytes(4) + (1).to_bytes(4) + bytes(20)
"""Stands for the figure, whose drawing takes longer than such a training."""


@dataclass
class Table:
    """Rows of figures: what was done, how often, what came of it."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, times: int, result: str, goal: str) -> None:
        """Put a row down, and print it."""
        self.rows.append((what, f"{times:,}", result, goal))
        print(" | ".join(self.rows[-1]), flush=True)

    def text(self) -> str:
        """The table in Markdown."""
        lines = ["| fault | trials | result | goal |", "|---|---:|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])


def train(path: Path) -> None:
    """The run that everything happens to."""
    start([*RUN, f"hydra.run.dir={path}"])


def go_on(path: Path) -> None:
    """What a person does after a crash: resume, or start again where nothing had begun."""
    run = RunDir(path)
    if not run.info.exists():
        shutil.rmtree(path, ignore_errors=True)
        train(path)
    elif read_info(run.info).status is not Status.COMPLETED:
        resume(path)


def outcome(path: Path, expected: Path) -> int:
    """0 where the run goes on to the same end to the bit, 1 where to another, 2 where it is lost."""
    try:
        go_on(path)
    except ShoalError as error:
        print(error, flush=True)
        return 2
    found = differences(state(expected), state(path))
    if found:
        print(path.name, found[:4], flush=True)
    return int(bool(found))


def kills(table: Table, name: str, folder: Path, n: int, chance: random.Random) -> None:
    """Kill -9 at random times; every tenth run is killed again while it resumes."""
    whole = folder / "whole"
    began = time.monotonic()
    in_child(partial(train, whole))
    length = time.monotonic() - began
    counts, killed = [0, 0, 0], 0
    for i in range(n):
        path = folder / f"run-{i}"
        work = partial(train, path)
        for _ in range(2 if i % 10 == 0 else 1):
            child = forked(work)
            time.sleep(chance.uniform(0, 1.1 * length))
            os.kill(child, signal.SIGKILL)
            killed += ended(child) == -signal.SIGKILL
            work = partial(go_on, path)
        code = in_child(partial(outcome, path, whole), log=folder / "log")
        counts[code if code in (0, 1) else 2] += 1
        shutil.rmtree(path, ignore_errors=True)
    table.add(f"kill -9 at a random time, {name}", killed, f"{counts[2]} lost, {counts[0]} of {n} bitwise", "0 lost")


def writes(table: Table, folder: Path, stride: int) -> None:
    """Kill at every call that changes the disk (or every so many), before it and, for a write, in the middle of it."""
    whole = folder / "whole"
    faults = Faults()

    def counted() -> int:
        with faults.installed(folder):
            train(whole)
        (folder / "count").write_text(str(faults.count))
        return 0

    in_child(counted)
    total, good, n = int((folder / "count").read_text()), 0, 0
    for at in range(1, total + 1, stride):
        for kind in ("kill", "half"):
            path = folder / f"{kind}-{at}"

            def work(path: Path = path, at: int = at, kind: str = kind) -> None:
                with Faults(at=at, kind=kind).installed(folder):
                    train(path)

            in_child(work)
            n += 1
            good += in_child(partial(outcome, path, whole), log=folder / "log") == 0  # type: ignore[misc]
            shutil.rmtree(path, ignore_errors=True)
    which = "every" if stride == 1 else f"one in {stride} of the {total}"
    table.add(
        f"killed before or within {which} write, fsync, rename, link, mkdir, unlink", n, f"{good} of {n} bitwise", "all"
    )


def failures(table: Table, folder: Path, n: int, chance: random.Random) -> None:
    """EIO and no space at a random call, once and from then on."""
    folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    for i in range(n):
        path = folder / f"failing-{i}"
        at, name, lasting = chance.randrange(8, 60), chance.choice(["EIO", "ENOSPC"]), chance.random() < 0.5

        def work(path: Path = path, at: int = at, name: str = name, lasting: bool = lasting) -> int:
            with Faults(at=at, kind=name, lasting=lasting).installed(folder), contextlib.suppress(ShoalError):
                train(path)
            if RunDir(path).last.exists():
                load(RunDir(path).last)
            return 0

        bad += in_child(work, log=folder / "log") != 0
        shutil.rmtree(path, ignore_errors=True)
    table.add("EIO or no space at a random call, once or for good", n, f"{bad} bad checkpoints or tracebacks", "0")


def full_disks(table: Table, folder: Path, n: int, chance: random.Random) -> None:
    """A disk that another process fills while a run trains."""
    destroyed = 0
    for _ in range(n):
        with small_disk(folder / "disk", size="512k") as disk:
            path = disk / "run"
            words = ["trainer.max_epochs=100000", "~callbacks.early_stopping", f"hydra.run.dir={path}"]
            child = forked(partial(start, [*RUN, *words]))
            while not RunDir(path).last.exists():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))
            handle = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
            with contextlib.suppress(OSError):
                while True:
                    os.write(handle, bytes(1024))
            os.close(handle)
            ended(child)
            try:
                load(RunDir(path).last)
            except ShoalError:
                destroyed += 1
    table.add("disk filled by another process", n, f"{destroyed} good checkpoints destroyed", "0")


def flips(table: Table, folder: Path, n: int, seed: int) -> None:
    """One bit of a checkpoint turned over, and checkpoints cut short."""
    in_child(partial(train, folder / "run"))
    file = RunDir(folder / "run").last
    whole, silent, cuts = file.read_bytes(), 0, 0
    for bit in bits(file, n, seed=seed):
        flipped(file, bit)
        with contextlib.suppress(DamagedError):
            unsealed(file)
            silent += 1
        file.write_bytes(whole)
    for length in range(len(whole)):
        os.truncate(file, 0)
        file.write_bytes(whole[:length])
        with contextlib.suppress(DamagedError):
            unsealed(file)
            cuts += 1
        if length > n:
            break
    table.add("one bit of a checkpoint flipped", n, f"{silent} silent loads", "0")
    table.add("a checkpoint cut at every length from 0 on", min(n + 2, len(whole)), f"{cuts} silent loads", "0")


def starts(table: Table, folder: Path, n: int) -> None:
    """Many processes that begin at the same instant."""
    instant = time.time() + 0.5 + n / 400

    def work() -> None:
        time.sleep(max(0, instant - time.time()))
        start([*RUN, "trainer.max_epochs=1", f"outputs={folder}"])

    codes = [ended(child, seconds=600) for child in [forked(work) for _ in range(n)]]
    found = {path.parent for path in folder.glob("*/*/run.json")}
    done = sum(read_info(path / "run.json").status is Status.COMPLETED for path in found)
    result = f"{len(found)} directories, {done} completed, {sum(map(bool, codes))} errors"
    table.add("runs started at the same instant", n, result, f"{n} directories")


@contextlib.contextmanager
def folder_in(place: Path) -> Iterator[Path]:
    """An empty folder there."""
    with tempfile.TemporaryDirectory(dir=place, prefix="torture-") as name:
        yield Path(name)


def report(table: Table, seed: int, seconds: float) -> str:
    """The page in docs/."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("shoal", "torch", "pytorch-lightning", "hydra-core"))
    return f"""# Reliability

What `make torture` counted on {date.today()}, in {seconds / 60:.0f} minutes, with seed {seed}.
Python {platform.python_version()}, {packages}; {platform.system()}, {os.cpu_count()} cores.

{table.text()}

"Bitwise": after it was stopped and resumed, the run's weights, optimizer, scheduler, callbacks, random generators,
metrics.csv, best checkpoint, results and the values in its event file equal those of a run that was never stopped.
"Other file system": the run directory on a tmpfs, TMPDIR on the disk. Each run is an MLP with dropout, clipping, a
cosine schedule and early stopping, of 8 epochs of 5 steps, saved every 3 steps; its figure is a stand-in.
"""


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=500, help="for each of two file systems")
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--stride", type=int, default=1, help="at which calls to kill: every, every second, ...")
    parser.add_argument("--failures", type=int, default=200)
    parser.add_argument("--disks", type=int, default=50)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reliability.md")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    torch.set_num_threads(1)
    figures.png = lambda figure: PICTURE
    chance, table, began = random.Random(args.seed), Table(), time.monotonic()
    with folder_in(Path(tempfile.gettempdir())) as disk:
        os.chdir(disk)
        kills(table, "same file system", disk / "kills", args.kills, chance)
        if Path("/dev/shm").is_dir():
            with folder_in(Path("/dev/shm")) as memory:
                kills(table, "other file system", memory, args.kills, chance)
        writes(table, disk / "writes", args.stride)
        failures(table, disk / "failures", args.failures, chance)
        try:
            full_disks(table, disk, args.disks, chance)
        except NoMount as reason:
            print(f"no full disks: {reason}")
        flips(table, disk / "flips", args.flips, args.seed)
        starts(table, disk / "starts", args.starts)
    args.output.write_text(report(table, args.seed, time.monotonic() - began), encoding="utf-8")


if __name__ == "__main__":
    main()
