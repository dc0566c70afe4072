"""Runs and sweeps that are killed at any moment, and what they go on to."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults import Faults, dies, in_child
from faults.state import differences, state
from foreign_kills import killed_programs
from rack import RUN, STACKED, Rack, Row, train
from shoal.app.resume import resume
from shoal.cli import train as shoal
from shoal.errors import ShoalError
from shoal.rundir import RunDir, Status, read_info
from sweep_kills import killed_launchers

SWEEP = ["-m", *STACKED[:-3], *STACKED[-2:], "seed=0,1,2", "sweep.processes=0"]


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
    rows = list[Row]()
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
        in_child(partial(faulty, Faults(at=at, kind=kind), folder, partial(begin, path)))
        good += _judged(partial(judge, path), folder) == 0
        shutil.rmtree(path, ignore_errors=True)
    fault = f"{what} killed before, and in the middle of, each of its {len(calls)} writes, fsyncs, renames and links"
    return Row(fault, len(points), f"{good:,} of {len(points):,} go on bitwise", "all")


def faulty(faults: Faults, folder: Path, work: Callable[[], object]) -> None:
    """Work while calls that change this folder fail as the faults say."""
    with faults.installed(folder):
        work()


def _calls(folder: Path, work: Callable[[], object]) -> list[str]:
    """The calls that change the disk, in their order."""

    def counted() -> int:
        faults = Faults()
        faulty(faults, folder, work)
        (folder / "calls").write_text(" ".join(faults.calls))
        return 0

    in_child(counted)
    return (folder / "calls").read_text().split()


def launchers(rack: Rack) -> list[Row]:
    """The launcher of a sweep killed again and again."""
    found = killed_launchers(rack.disk / "sweeps", rack.n(1000), rack.n(100), rack.chance)
    fault = (
        f"the launcher of one sweep of {found.jobs:,} jobs killed (kill -9, {found.cold} times with its two workers)"
    )
    result = f"{found.once:,} of {found.jobs:,} results exactly once and bitwise, {found.orphans} orphans"
    return [Row(fault, found.kills, result, "every result once")]


def programs(rack: Rack) -> list[Row]:
    """The launcher or a worker of a program's sweeps killed again and again, the program knowing nothing of shoal."""
    found = killed_programs(rack.disk / "programs", rack.n(50), rack.chance)
    print(*found.wrong[:5], sep="\n", flush=True)
    fault = f"kill -9 of the launcher or (in {found.workers}) of a worker, hydra/launcher=shoal in another's program"
    return [Row(fault, found.kills, f"{found.once} of {found.jobs} jobs exactly once", "every job once")]
