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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

import torch  # noqa: E402

from bad_disks import disks, failures, flips  # noqa: E402
from faults import NoMount, ended, forked  # noqa: E402
from integrity_cost import share_of_integrity  # noqa: E402
from killed_runs import kills, launchers, programs, writes  # noqa: E402
from processors import EVERY, report  # noqa: E402
from rack import RUN, Rack, Row, train  # noqa: E402
from shoal.app.start import start  # noqa: E402
from shoal.pictures import rendering  # noqa: E402
from shoal.record.environment import hardware  # noqa: E402
from shoal.rundir import Status, read_info  # noqa: E402

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(8) + (1).to_bytes(4) + (1).to_bytes(4) + bytes(20)
"""Stands for the figure, whose drawing takes longer than such a training."""


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


def cost(rack: Rack) -> list[Row]:
    """What it costs to write durably and to check digests."""
    n = rack.n(20)
    share = share_of_integrity(rack.disk / "cost", n)
    fault = "time in fsync, digests, locks and second copies, of a parabola's run without its imports (median)"
    return [Row(fault, n, f"{share:.1%}", "under 5 %")]


def without_avx2(rack: Rack) -> list[Row]:
    """Runs that train together and apart, in processes that compute as on an x86-64 processor of any age."""
    return _computing("default", "without AVX2", rack)


def with_avx2(rack: Rack) -> list[Row]:
    """The same as on a processor with AVX2."""
    return _computing("avx2", "with AVX2", rack)


def with_avx512(rack: Rack) -> list[Row]:
    """The same as on a processor with AVX-512."""
    return _computing("avx512", "with AVX-512", rack)


def _computing(aten: str, words: str, rack: Rack) -> list[Row]:
    n, told = rack.n(5), [each for each in EVERY if each.aten == aten and not each.missing]
    seen = [report(each, examples=n, seed=rack.seed, runs=64, stacks=4, cache=rack.disk / "cache") for each in told]
    print(*(line for each in seen for line in each.found), sep="\n", end="", flush=True)
    fault = (
        f"64 runs of a kind drawn at random trained as a stack, then 7, 3, 2 and 1 of them in another order: "
        f"torch's kernels {words}, {len(told)} settings of MKL"
    )
    result = f"{sum(len(each.found) for each in seen)} kinds have other bits"
    return [Row(fault, sum(each.n for each in seen), result, "0")]


PARTS: dict[str, Callable[[Rack], list[Row]]] = {
    each.__name__: each
    for each in (
        flips,
        cost,
        starts,
        disks,
        failures,
        writes,
        launchers,
        programs,
        kills,
        without_avx2,
        with_avx2,
        with_avx512,
    )
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
    dates = sorted(str(part["date"]) for part in known)
    when = f"on {dates[0]}" if dates[0] == dates[-1] else f"from {dates[0]} to {dates[-1]}"
    seeds = ", ".join(dict.fromkeys(str(part["seed"]) for part in known))
    return f"""# Reliability

What `make torture` counted {when}, in {minutes:.0f} minutes, with seed {seeds}.
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
    rendering.png = lambda figure: PICTURE
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
