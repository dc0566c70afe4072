"""File systems without what a local disk has: folders that cannot be synced, and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import trained
from faults.training import SMALL, train
from shoal.cli import run as shoal_command
from shoal.errors import UsageError
from shoal.rundir import RunDir, Status, claim, read_info, syncing, write_text
from shoal.rundir.atomic import UnwritableError, together

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been said yet of any file system."""
    monkeypatch.setattr(syncing, "_unsynced", set())


def refuse_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Let the sync of a folder fail with this error; the sizes of the files that are synced."""
    synced: list[int] = []

    def fsync(handle: int) -> None:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(number, os.strerror(number))
        synced.append(found.st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_run_trains_where_no_folder_can_be_synced_and_says_so_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synced = refuse_folders(monkeypatch, number)

    run = train(tmp_path / "run")

    info, said = read_info(run.info), capsys.readouterr().err
    assert info.status is Status.COMPLETED
    assert {run.last.stat().st_size, run.info.stat().st_size} <= set(synced)
    assert said.count("this file system syncs no folder") == 1
    assert os.strerror(number) in said


def test_a_command_that_keeps_no_log_says_it_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse_folders(monkeypatch, errno.EINVAL)
    monkeypatch.setattr(syncing.log, "hasHandlers", lambda: False)

    write_text(tmp_path / "report.html", "text")

    assert capfd.readouterr().err == (
        f"warning: {tmp_path}: this file system syncs no folder (Invalid argument), only the files in it\n"
    )


def test_files_written_together_are_in_place_where_no_folder_can_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_folders(monkeypatch, errno.EINVAL)

    with together():
        write_text(tmp_path / "a", "one")
        write_text(tmp_path / "b", "two")

    assert [(tmp_path / name).read_text() for name in "ab"] == ["one", "two"]


def test_a_folder_that_fails_to_be_synced_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_folders(monkeypatch, errno.EIO)

    with pytest.raises(UnwritableError, match=os.strerror(errno.EIO)):
        write_text(tmp_path / "a", "text")


def test_a_file_that_cannot_be_synced_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(UnwritableError, match=os.strerror(errno.EINVAL)):
        write_text(tmp_path / "a", "text")


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def unlockable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file system without locks, and what it says."""

    def flock(handle: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        yield os.strerror(request.param)


def test_where_there_are_no_locks_that_is_what_is_said(
    unlockable: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = shoal_command(["train", *SMALL, "hydra.run.dir=run"])

    said = capsys.readouterr().err
    assert (code, len(said.splitlines())) == (1, 2)
    assert f"run lies on a file system without file locks (flock: {unlockable})" in said
    assert "outputs=FOLDER" in said


def test_a_sweep_says_it_before_anything_trains(unlockable: str, workdir: Path) -> None:
    ended = trained("-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep", "sweep.processes=0")

    assert ended.returncode == 1
    assert "sweep lies on a file system without file locks" in ended.stderr
    assert list(Path("sweep").glob("*/run.json")) == []


def test_a_lock_that_is_held_is_not_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    with claim(RunDir(tmp_path)), pytest.raises(UsageError, match="is in use by"):
        train(tmp_path)
