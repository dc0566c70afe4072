"""A small sweep from the command line, and what its runs have come to."""

from __future__ import annotations

import stat
from pathlib import Path

import torch

from commands import Ended, trained
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import RunDir, SweepDir, SweepInfo, read_history, read_sweep

SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=3"]
ELSEWHERE = ["seed=range(4)", "sweep.block=2", "trainer.max_epochs=60", "callbacks.checkpoint.every_seconds=0"]
"""A sweep that is long enough for something to happen to its workers."""
NOISY = """#!/bin/sh
echo "Welcome to node 7; you have mail"
exec "$@"
"""
"""A command that workers may be behind; it says something itself."""


def words(*overrides: str) -> list[str]:
    """What is typed after `python train.py`."""
    return ["-m", *SMALL, "hydra.sweep.dir=sweep", *overrides]


def sweep(*overrides: str) -> Ended:
    """The command, in this process."""
    return trained(*words(*overrides))


def behind(name: str, script: str) -> list[str]:
    """Overrides that have workers behind a script."""
    path = Path(name)
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ["workers=command", f"workers.command=[{path.absolute()}]"]


def info(path: Path | str = "sweep") -> SweepInfo:
    """What sweep.json says."""
    return read_sweep(SweepDir(Path(path)).info)


def statuses(path: Path | str = "sweep") -> list[str | None]:
    """How each job ended."""
    return [job.status for job in info(path).jobs]


def runs(path: Path | str = "sweep") -> list[RunDir]:
    """The directory of each job."""
    return [SweepDir(Path(path)).run(job) for job in info(path).jobs]


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    """What it has learned in the end."""
    state: dict[str, torch.Tensor] = load(run.last)["state_dict"]
    return state


def same(one: RunDir, other: RunDir) -> bool:
    """Whether two runs have learned and measured the same, to the bit."""
    mine, theirs = weights(one), weights(other)
    rows = read_history(one.history).rows == read_history(other.history).rows
    return rows and all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)


def as_here(here: Path) -> bool:
    """Whether all runs of `ELSEWHERE` are completed, with the bits of those by processes of this machine."""
    log = Path("log")
    assert statuses() == ["completed"] * 4, log.read_text() if log.exists() else ""
    return all(same(mine, theirs) for mine, theirs in zip(runs(), runs(here), strict=True))
