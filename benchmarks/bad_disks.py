"""Disks that fail, are full or forget: what is left of checkpoints."""

from __future__ import annotations

import contextlib
import shutil
import time
from functools import partial
from pathlib import Path

from faults import Faults, bits, ended, flipped, forked, in_child, small_disk
from killed_runs import faulty
from rack import RUN, Rack, Row, train
from shoal.app.start import start
from shoal.errors import DamagedError, ShoalError
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import RunDir, unsealed


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
                faulty(faults, folder, partial(train, path))
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
