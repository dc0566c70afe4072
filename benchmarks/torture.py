"""The long form of the tests of faults and of processors, counted.

Kills, failing writes, full disks, flipped bits and simultaneous starts; stacks in processes that compute as on other
processors. `make torture` runs all of it, about an hour on two cores, and writes docs/reliability.md. Parts can be run
one by one (`--only kills flips`): what the others counted is kept in build/torture.json. `--scale 0.1` makes a tenth of
the trials; the seed is printed, and `--seed` repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

import torch  # noqa: E402

from faults import Faults, NoMount, bits, dies, ended, flipped, forked, in_child, small_disk  # noqa: E402
from faults.state import differences, state  # noqa: E402
from integrity_cost import share_of_integrity  # noqa: E402
from processors import EVERY, report  # noqa: E402
from shoal.app.resume import resume  # noqa: E402
from shoal.app.start import start  # noqa: E402
from shoal.cli import train as shoal  # noqa: E402
from shoal.errors import DamagedError, ShoalError  # noqa: E402
from shoal.record.checkpoint_file import load  # noqa: E402
from shoal.record.environment import hardware  # noqa: E402
from shoal.record.figures import fit as figures  # noqa: E402
from shoal.rundir import RunDir, Status, read_info, unsealed  # noqa: E402
from sweep_kills import killed_launchers  # noqa: E402

RUN = [
    "task.n_samples=50",
    "task.batch_size=8",
    "model.hidden=[6]",
    "model.dropout=0.2",
    "trainer.max_epochs=16",
    "trainer.gradient_clip_val=0.5",
    "scheduler=cosine",
    "callbacks=early_stopping",
    "callbacks.progress=null",
    "callbacks.checkpoint.every_n_train_steps=3",
]
STACKED = [*RUN[:-1], "engine=vectorized", "callbacks.checkpoint.every_seconds=0", "trainer.max_epochs=4"]
SWEEP = ["-m", *STACKED[:-3], *STACKED[-2:], "seed=0,1,2", "sweep.processes=0"]
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(8) + (1).to_bytes(4) + (1).to_bytes(4) + bytes(20)
"""Stands for the figure, whose drawing takes longer than such a training."""


@dataclass(frozen=True)
class Row:
    """What was done, how often, what came of it, and what should."""

    fault: str
    trials: int
    result: str
    goal: str


@dataclass(frozen=True)
class Rack:
    """Where the trials are made, and how many."""

    disk: Path
    memory: Path
    scale: float
    seed: int

    def n(self, trials: int) -> int:
        """So many trials, at this scale."""
        return max(1, round(trials * self.scale))

    @property
    def chance(self) -> random.Random:
        """Numbers by chance, the same in every run with this seed."""
        return random.Random(self.seed)


def train(path: Path, words: list[str] = RUN) -> None:
    """The run that everything happens to."""
    start([*words, f"hydra.run.dir={path}"])


def go_on(path: Path, words: list[str] = RUN) -> None:
    """What a person does after a crash: resume, or start again where nothing had begun."""
    run = RunDir(path)
    if not run.info.exists():
        shutil.rmtree(path, ignore_errors=True)
        train(path, words)
    elif read_info(run.info).status is not Status.COMPLETED:
        resume(path)


def outcome(path: Path, expected: Path, words: list[str] = RUN) -> int:
    """0 where the run goes on to the same end to the bit, 1 where to another, 2 where it is lost."""
    try:
        go_on(path, words)
    except ShoalError as error:
        print(error, flush=True)
        return 2
    return _compared(path, expected)


def _compared(path: Path, expected: Path) -> int:
    found = differences(state(expected), state(path))
    if found:
        print(path.name, found[:4], flush=True)
    return int(bool(found))


def kills(rack: Rack) -> list[Row]:
    """Kill -9 at random times, on one file system and across two."""
    here = _kills("same file system", rack.disk / "kills", rack.n(500), rack.chance)
    there = _kills("TMPDIR on another file system", rack.memory / "kills", rack.n(500), rack.chance)
    return [here, there]


def _kills(where: str, folder: Path, n: int, chance: random.Random) -> Row:
    """Kill runs, of which one in ten is killed again while it resumes; one that ends before does not count."""
    whole = folder / "whole"
    train(whole)  # here, so that every copy of this process has imported everything
    began = time.monotonic()
    in_child(partial(train, folder / "timed"))
    length = time.monotonic() - began
    counts, killed = [0, 0, 0], 0
    while sum(counts) < n:
        path = folder / f"run-{sum(counts)}"
        died = dies(partial(train, path), chance.uniform(0, length))
        length *= 1 if died else 0.98  # the machine was busy when it was measured
        if died and chance.random() < 0.1:
            killed += dies(partial(go_on, path), chance.uniform(0, length))
        if died:
            counts[_judged(partial(outcome, path, whole), folder)] += 1
        killed += died
        shutil.rmtree(path, ignore_errors=True)
    litter = len(list(Path(tempfile.gettempdir()).glob("*.partial")))
    result = f"{counts[2]} lost, {counts[0]:,} of {n:,} bitwise, {litter} files left behind"
    return Row(f"kill -9 at a random time, {where}", killed, result, "0 lost, all bitwise")


def _judged(work: Callable[[], int], folder: Path) -> int:
    """0, 1 or 2, as `outcome` says; whatever else a process ends with is a loss."""
    code = in_child(work, log=folder / "log")
    return code if code in (0, 1) else 2


def writes(rack: Rack) -> list[Row]:
    """Kill at every call that changes the disk: of a run of either engine, and of a sweep in one process."""
    words = {"a run": [*RUN[:4], "trainer.max_epochs=8", *RUN[5:]], "a run with engine=vectorized": STACKED}
    rows = []
    for what, each in words.items():
        folder = rack.disk / str(len(rows))
        train(folder / "whole", each)
        judge = partial(outcome, expected=folder / "whole", words=each)
        rows.append(_killed_at_each(what, folder, rack, partial(train, words=each), judge))
    folder = rack.disk / "sweeps"
    in_child(partial(sweep, folder / "whole"))
    rows.append(_killed_at_each("a sweep of three", folder, rack, sweep, partial(_swept, expected=folder / "whole")))
    return rows


def sweep(path: Path) -> int:
    """A small sweep in this process, or what is missing of it."""
    return shoal([*SWEEP, f"hydra.sweep.dir={path}"])


def _swept(path: Path, expected: Path) -> int:
    if sweep(path) != 0:
        return 2
    return max(_compared(path / name, expected / name) for name in ("0000", "0001", "0002"))


def _killed_at_each(
    what: str, folder: Path, rack: Rack, begin: Callable[[Path], object], judge: Callable[[Path], int]
) -> Row:
    """Kill `begin` before each call that changes the disk, and within each write; `judge` what that leads to."""
    calls = _calls(folder, partial(begin, folder / "counted"))
    points = [(at, kind) for at, call in enumerate(calls, 1) for kind in ("kill", "half")[: 1 + (call == "write")]]
    points = points[:: max(1, round(1 / rack.scale))]
    good = 0
    for at, kind in points:
        path = folder / f"{kind}-{at}"
        in_child(partial(_faulty, Faults(at=at, kind=kind), folder, partial(begin, path)))
        good += _judged(partial(judge, path), folder) == 0
        shutil.rmtree(path, ignore_errors=True)
    fault = f"{what} killed before, and in the middle of, each of its {len(calls)} writes, fsyncs, renames and links"
    return Row(fault, len(points), f"{good:,} of {len(points):,} go on bitwise", "all")


def _faulty(faults: Faults, folder: Path, work: Callable[[], object]) -> None:
    with faults.installed(folder):
        work()


def _calls(folder: Path, work: Callable[[], object]) -> list[str]:
    """The calls that change the disk, in their order."""

    def counted() -> int:
        faults = Faults()
        _faulty(faults, folder, work)
        (folder / "calls").write_text(" ".join(faults.calls))
        return 0

    in_child(counted)
    return (folder / "calls").read_text().split()


def failures(rack: Rack) -> list[Row]:
    """EIO and no space at a random call, once and from then on."""
    folder, chance, bad, n = rack.disk / "failures", rack.chance, 0, rack.n(200)
    folder.mkdir()
    for i in range(n):
        path = folder / f"failing-{i}"
        faults = Faults(
            at=chance.randrange(8, 60), kind=chance.choice(["EIO", "ENOSPC"]), lasting=chance.random() < 0.5
        )

        def work(path: Path = path, faults: Faults = faults) -> int:
            with contextlib.suppress(ShoalError):
                _faulty(faults, folder, partial(train, path))
            if RunDir(path).last.exists():
                load(RunDir(path).last)
            return 0

        bad += in_child(work, log=folder / "log") != 0
        shutil.rmtree(path, ignore_errors=True)
    return [Row("EIO or no space at a random call, once or for good", n, f"{bad} bad checkpoints or tracebacks", "0")]


def disks(rack: Rack) -> list[Row]:
    """A disk that another process fills while a run trains."""
    destroyed, n, chance = 0, rack.n(50), rack.chance
    for _ in range(n):
        with small_disk(rack.disk / "small", size="512k") as disk:
            path = disk / "run"
            words = ["trainer.max_epochs=100000", "~callbacks.early_stopping", f"hydra.run.dir={path}"]
            child = forked(partial(start, [*RUN, *words]))
            while not RunDir(path).last.exists():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(1024))
            ended(child)
            try:
                load(RunDir(path).last)
            except ShoalError:
                destroyed += 1
    return [Row("disk filled by another process", n, f"{destroyed} good checkpoints destroyed", "0")]


def flips(rack: Rack) -> list[Row]:
    """One bit of a checkpoint turned over, and checkpoints cut short."""
    train(rack.disk / "run")
    file = RunDir(rack.disk / "run").last
    whole, silent, n = file.read_bytes(), [0, 0], rack.n(10_000)
    for bit in bits(file, n, seed=rack.seed):
        flipped(file, bit)
        silent[0] += _loads(file)
        file.write_bytes(whole)
    lengths = range(0, len(whole), max(1, round(1 / rack.scale)))
    for length in lengths:
        file.write_bytes(whole[:length])
        silent[1] += _loads(file)
    file.write_bytes(whole)
    return [
        Row("one bit of a checkpoint flipped", n, f"{silent[0]} silent loads", "0"),
        Row("a checkpoint cut short, at every length", len(lengths), f"{silent[1]} silent loads", "0"),
    ]


def _loads(file: Path) -> bool:
    with contextlib.suppress(DamagedError):
        unsealed(file)
        return True
    return False


def starts(rack: Rack) -> list[Row]:
    """Many processes that begin at the same instant."""
    folder, n = rack.disk / "starts", rack.n(200)
    train(folder / "first")
    instant = time.time() + 0.5 + n / 100

    def work() -> None:
        time.sleep(max(0, instant - time.time()))
        start([*RUN, "trainer.max_epochs=1", f"outputs={folder}"])

    codes = [ended(child, seconds=600) for child in [forked(work) for _ in range(n)]]
    found = {path.parent for path in folder.glob("*/*/run.json")}
    done = sum(read_info(path / "run.json").status is Status.COMPLETED for path in found)
    result = f"{len(found)} directories, {done} completed, {sum(map(bool, codes))} errors"
    return [Row("runs started at the same instant", n, result, f"{n} directories")]


def launchers(rack: Rack) -> list[Row]:
    """The launcher of a sweep killed again and again."""
    found = killed_launchers(rack.disk / "sweeps", rack.n(1000), rack.n(100), rack.chance)
    fault = (
        f"the launcher of one sweep of {found.jobs:,} jobs killed (kill -9, {found.cold} times with its two workers)"
    )
    result = f"{found.once:,} of {found.jobs:,} results exactly once and bitwise, {found.orphans} orphans"
    return [Row(fault, found.kills, result, "every result once")]


def cost(rack: Rack) -> list[Row]:
    """What it costs to write durably and to check digests."""
    n = rack.n(20)
    share = share_of_integrity(rack.disk / "cost", n)
    fault = "time in fsync, digests, locks and second copies, of a parabola's run without its imports (median)"
    return [Row(fault, n, f"{share:.1%}", "under 5 %")]


def processors(rack: Rack) -> list[Row]:
    """Runs that train together and apart, in processes that compute as on other processors."""
    rows, n = [], rack.n(14)
    for aten, words in {"default": "without AVX2", "avx2": "with AVX2", "avx512": "with AVX-512"}.items():
        told = [each for each in EVERY if each.aten == aten and not each.missing]
        seen = [report(each, examples=n, seed=rack.seed, runs=64, stacks=4, cache=rack.disk / "cache") for each in told]
        print(*(line for each in seen for line in each.found), sep="\n", end="", flush=True)
        fault = (
            f"64 runs of a kind drawn at random trained as a stack, then 7, 3, 2 and 1 of them in another order: "
            f"torch's kernels {words}, {len(told)} settings of MKL"
        )
        result = f"{sum(len(each.found) for each in seen)} kinds have other bits"
        rows.append(Row(fault, sum(each.n for each in seen), result, "0"))
    return rows


PARTS: dict[str, Callable[[Rack], list[Row]]] = {
    each.__name__: each for each in (flips, cost, starts, disks, failures, writes, launchers, kills, processors)
}


@contextlib.contextmanager
def folder_in(place: Path) -> Iterator[Path]:
    """An empty folder there."""
    with tempfile.TemporaryDirectory(dir=place, prefix="torture-") as name:
        yield Path(name)


def page(counted: dict[str, dict[str, object]]) -> str:
    """The page in docs/, from what all parts have counted."""
    known = [counted[name] for name in PARTS if name in counted]
    rows = [row for part in known for row in part["rows"]]  # type: ignore[attr-defined]
    lines = [f"| {row['fault']} | {row['trials']:,} | {row['result']} | {row['goal']} |" for row in rows]
    packages = ", ".join(f"{name} {version(name)}" for name in ("shoal", "torch", "pytorch-lightning", "hydra-core"))
    minutes = sum(float(str(part["seconds"])) for part in known) / 60
    machine = f"{platform.system()}, {os.cpu_count()} cores, {hardware('cpu', 1)['processor']}"
    seeds = ", ".join(dict.fromkeys(str(part["seed"]) for part in known))
    return f"""# Reliability

What `make torture` counted on {max(str(part["date"]) for part in known)}, in {minutes:.0f} minutes, with seed {seeds}.
Python {platform.python_version()}, {packages}; {machine}.

| fault | trials | result | goal |
|---|---:|---|---|
{chr(10).join(lines)}

"Bitwise": after it was stopped and resumed, the run's weights, optimizer, scheduler, callbacks, random generators,
metrics.csv, best checkpoint, results and the values in its event file equal those of a run that was never stopped.
"Another file system": the run directory on a tmpfs, TMPDIR on the disk. The run is an MLP with dropout, clipping, a
cosine schedule and early stopping, of 8 or 16 epochs of 5 steps, saved every 3 steps; its figure is a stand-in. It
trains in a copy of a process that has imported everything, so that the kill comes while it trains.
"Settings of MKL": MKL_CBWR unset, AVX2 or COMPATIBLE, each with and without MKL_ENABLE_INSTRUCTIONS=AVX2, and torch in
use before shoal was imported. "A kind": layers of every sort one on the other, of odd widths or of one, batches of one,
float32 and float64, compiled or not; what must be equal are weights, optimizer and metrics after two epochs.
"""


def main() -> None:
    """Run it, or a part of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 makes a tenth of the trials")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--counted", type=Path, default=ROOT / "build" / "torture.json")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reliability.md")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    torch.set_num_threads(1)
    figures.png = lambda figure: PICTURE
    counted = json.loads(args.counted.read_text()) if args.counted.exists() else {}
    args.counted.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.gettempdir())
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else temporary
    for name in args.only:
        began = time.monotonic()
        with folder_in(temporary) as disk, folder_in(memory) as other:
            os.chdir(disk)
            try:
                rows = PARTS[name](Rack(disk, other, args.scale, args.seed))
            except NoMount as reason:
                rows = [Row(name, 0, f"not possible here: {reason}", "")]
            os.chdir(ROOT)
        print(*(" | ".join(map(str, asdict(row).values())) for row in rows), sep="\n", flush=True)
        when = {"seconds": time.monotonic() - began, "seed": args.seed, "date": str(date.today())}
        counted[name] = {"rows": [asdict(row) for row in rows], **when}
        args.counted.write_text(json.dumps(counted, indent=2))
    args.output.write_text(page(counted), encoding="utf-8")


if __name__ == "__main__":
    main()
