"""Which start of a block is believed: each has a number and a lease, and one that was cut off has none any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from shoal.errors import DamagedError
from shoal.rundir import RunDir, SweepDir, read_info
from shoal.rundir.atomic import unwritable
from shoal.sweeps.block import Block


class Leases:
    """The leases of one launch of a sweep."""

    def __init__(self, sweep: SweepDir, launch: int) -> None:
        self.sweep = sweep
        self.launch = launch
        self._n = 0

    def granted(self, block: Block) -> Block:
        """The block with the number of its start, and a lease of its own.

        Raises:
            ShoalError: where that cannot be written.
        """
        self._n += 1
        start = f"{self.launch}-{self._n}"
        lease = self.sweep.leases / start
        numbered = (replace(each, info=replace(each.info, start=start)) for each in block.assignments)
        try:
            lease.parent.mkdir(exist_ok=True)
            lease.write_text(json.dumps([each.path.name for each in block.assignments if not each.finished]))
        except OSError as error:
            raise unwritable(lease, error) from error
        return replace(block, assignments=tuple(numbered), lease=lease)

    def ended(self, block: Block) -> None:
        """Take back a block's lease once its process has said that it is done."""
        if block.lease is not None:
            block.lease.unlink(missing_ok=True)

    def revoked(self, block: Block) -> None:
        """Believe nothing any more of what this start of a block writes from now on."""
        if block.lease is not None:
            self._revoke(block.lease, [each.path for each in block.assignments if not each.finished])

    def revoke_all(self) -> None:
        """Believe nothing more of the starts of earlier launches, whose processes may live."""
        for lease in sorted(self.sweep.leases.glob("*")):
            self._revoke(lease, [self.sweep.path / name for name in _named(lease)])
        with suppress(OSError):
            self.sweep.leases.rmdir()

    def _revoke(self, lease: Path, runs: Sequence[Path]) -> None:
        try:
            # The lease first: without it the worker puts no further file into what is copied below.
            lease.unlink(missing_ok=True)
            for run in runs:
                if not _finished(run):
                    _renew(run)
        except OSError as error:
            raise unwritable(lease, error) from error


def _named(lease: Path) -> list[str]:
    """The run directories that a lease is for; none where its launcher did not live to say."""
    with suppress(OSError, ValueError):
        names = json.loads(lease.read_text())
        return [name for name in names if isinstance(name, str) and Path(name).name == name and name not in ("", "..")]
    return []


def _finished(run: Path) -> bool:
    with suppress(DamagedError):
        return read_info(RunDir(run).info).finished
    return False


def _renew(run: Path) -> None:
    """Put a copy in the place of a run directory: who has the lock or a file of the old one open has none of it."""
    copy, old = run.with_name(f".{run.name}.copy"), run.with_name(f".{run.name}.old")
    for left in (copy, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        # Without the lock, which a worker that was given up may hold: that stays with the old directory.
        shutil.copytree(run, copy, symlinks=True, ignore=shutil.ignore_patterns(".lock", "*.partial"))
    except FileNotFoundError:
        return  # it had not begun
    # In two steps, since no folder can be renamed onto one that has files.
    run.rename(old)
    copy.rename(run)
    shutil.rmtree(old, ignore_errors=True)
