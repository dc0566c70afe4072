"""A worker whose training only counts, and keeps what it has come to: it needs no torch, and is there at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from shoal.rundir import Status, write_info, write_text
from shoal.sweeps.block import Block, RunEnded
from shoal.sweeps.worker import main

GOAL = 20
"""How far a run counts, ten a second."""


def train_block(block: Block, report: Callable[[Any], None], known: object) -> None:
    """Let each run count; a signal stops it where it is."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: asked.append(number))
    for each in block.assignments:
        info = replace(each.info, pid=os.getpid(), host=os.environ.get("SLURMD_NODENAME"))
        count = each.path / "count"
        n = int(count.read_text()) if each.resume and count.exists() else 0
        write_info(each.run.info, info)
        print("said by the user's code", flush=True)
        while n < GOAL and not asked:
            n += 1
            write_text(count, str(n))
            time.sleep(0.1)
        info = replace(info, status=Status.COMPLETED if n == GOAL else Status.INTERRUPTED, ended="now", steps=n)
        write_info(each.run.info, info)
        report(RunEnded(each.number, info))


if __name__ == "__main__":
    training: Any = ModuleType("shoal.sweeps.block_training")
    training.train_block, training.Known = train_block, dict
    sys.modules[training.__name__] = training
    sys.argv = ["worker"]
    main()
