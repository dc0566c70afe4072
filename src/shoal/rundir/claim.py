"""One process trains in a run directory, and one runs the sweep in a sweep directory, at a time."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shoal.errors import DamagedError, ShoalError, UsageError
from shoal.rundir.atomic import unwritable
from shoal.rundir.info import read_info
from shoal.rundir.layout import RunDir
from shoal.rundir.sweep_info import SweepDir, read_sweep

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system says that has no locks."""


@contextmanager
def claim(run: RunDir | SweepDir, lock_file: Path | None = None) -> Iterator[None]:
    """Hold the directory; the system lets go of it when the process ends, however it ends.

    `lock_file` is for those who hold it for something else than the training.

    Raises:
        UsageError: where another process holds it: which one, on which host, since when.
        ShoalError: where the lock cannot be written, or the file system has none.
    """
    path = lock_file or run.lock
    # A lock that is but a file would outlive a process that is killed, and would not be seen from another machine.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{run.path} is in use by {_owner(run)}", hint="wait for it to end, or stop it") from None
    except OSError as error:
        raise _unlockable(path, error) if error.errno in NO_LOCKS else unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _owner(run: RunDir | SweepDir) -> str:
    try:
        info = read_info(run.info) if isinstance(run, RunDir) else read_sweep(run.info)
    except DamagedError:  # who has just begun holds the directory before there is a run.json in it
        return "another process"
    return f"pid {info.pid} on {info.host} since {info.started}"


def _unlockable(path: Path, error: OSError) -> ShoalError:
    """The error for a file system that has no locks: two processes that train the same run could not be told apart."""
    problem = f"{path.parent} lies on a file system without file locks (flock: {error.strerror})"
    hint = "another place: outputs=FOLDER; or mounted with locks (Lustre: flock; NFS: with its lock daemon)"
    return ShoalError(problem, hint=hint)
