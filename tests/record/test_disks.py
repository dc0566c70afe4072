"""A run whose disk fails it: killed at every write, full, failing, read-only and deleted."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from faults import Faults, NoMount, assert_refused_without_permission, ended, forked, in_child, small_disk
from faults.state import differences, state
from faults.training import LONG, OFTEN, SMALL, train, typed, until
from shoal.app.resume import resume
from shoal.cli import train as main
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import (
    RunDir,
    Status,
    read_info,
    write_bytes,
)

pytestmark = pytest.mark.usefixtures("undrawn")


def goes_on(path: Path) -> None:
    """Start again what was stopped, as a person would."""
    run = RunDir(path)
    if not run.info.exists():
        shutil.rmtree(path, ignore_errors=True)
        train(path, *OFTEN)
    elif read_info(run.info).status is not Status.COMPLETED:
        resume(path)


@pytest.mark.parametrize("kind", ["kill", "half"])
def test_a_file_killed_at_any_call_of_its_writing_is_old_or_new(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "file"
    outcomes = set()

    for at in range(1, 10):
        write_bytes(target, b"old")

        def work(at: int = at) -> None:
            with Faults(at=at, kind=kind).installed(tmp_path):
                write_bytes(target, b"new content")

        code = in_child(work)
        outcomes.add(target.read_bytes())
        if code == 0:
            break

    assert code == 0
    assert outcomes == {b"old", b"new content"}


def n_calls(folder: Path) -> int:
    """How many calls that change the disk a run makes."""
    faults = Faults()
    with faults.installed(folder):
        train(folder / "counted", *OFTEN)
    return faults.count


def test_a_run_killed_at_its_writes_goes_on_to_the_same_end(tmp_path: Path) -> None:
    expected = state(train(tmp_path / "whole", *OFTEN).path)
    total = n_calls(tmp_path)
    every = max(1, total // 12)  # `make torture` takes every one

    for at in range(1, total, every):
        path = tmp_path / f"killed-{at}"

        def work(path: Path = path, at: int = at) -> None:
            with Faults(at=at, kind="half" if at % 2 else "kill").installed(path.parent):
                train(path, *OFTEN)

        assert in_child(work) == 77
        goes_on(path)
        assert differences(expected, state(path)) == [], f"killed at call {at} of {total}"


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("name", ["EIO", "ENOSPC"])
def test_a_failing_disk_is_one_error_and_the_checkpoint_before_loads(
    name: str, lasting: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = n_calls(tmp_path)

    for at in range(8, total, max(1, total // 5)):
        path = tmp_path / f"failing-{at}"
        faults = Faults(at=at, kind=name, lasting=lasting)
        with faults.installed(tmp_path):
            code = main([*SMALL, *OFTEN, f"hydra.run.dir={path}"])
        said = capsys.readouterr().err

        assert code in ((1,) if lasting else (0, 1))
        if code:
            assert len(said.splitlines()) <= 3
            assert said.startswith("error: cannot write ")
        if RunDir(path).last.exists():
            load(RunDir(path).last)
        assert not list(path.rglob("*.partial")) or lasting


def fill(file: Path) -> None:
    """Take all that is left of a disk."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(handle, bytes(4096))
    os.close(handle)


def test_a_full_disk_is_told_with_its_space_and_destroys_nothing(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", size="1m") as disk:
            path, log = disk / "run", tmp_path / "log"
            child = forked(typed(path, *LONG, "callbacks.checkpoint.every_seconds=0"), log=log)
            until(lambda: RunDir(path).last.exists())
            filler = disk / "filler"
            fill(filler)

            code = ended(child)

            said = log.read_text()
            assert code == 1
            assert said.splitlines()[-2].startswith("error: cannot write /")
            assert "No space left on device" in said.splitlines()[-2]
            assert "bytes are free there" in said.splitlines()[-1]
            assert load(RunDir(path).last)["global_step"] > 0
            filler.unlink()
            done = load(RunDir(path).last)["epoch"]
            resume(path, [f"trainer.max_epochs={done + 1}", "callbacks.checkpoint.every_seconds=10"])
    except NoMount as reason:
        pytest.skip(f"no file system of its own here: {reason}")


def test_a_full_disk_before_the_start_is_told_before_training(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", size="64k") as disk:
            (disk / "filler").write_bytes(bytes(60 * 1024))

            code = in_child(typed(disk / "run"), log=tmp_path / "log")

            assert code == 1
            assert "cannot write" in (tmp_path / "log").read_text().splitlines()[0]
    except NoMount as reason:
        pytest.skip(f"no file system of its own here: {reason}")


def test_a_folder_that_may_not_be_written_is_refused_before_the_first_step(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir(mode=0o555)

    assert_refused_without_permission(typed(outputs / "run"), log=tmp_path / "log")
    assert not list(outputs.iterdir())


def test_a_run_whose_directory_is_deleted_fails_and_leaves_nothing_half(tmp_path: Path) -> None:
    path, log = tmp_path / "run", tmp_path / "log"
    child = forked(typed(path, *LONG, "callbacks.checkpoint.every_seconds=0"), log=log)
    until(lambda: RunDir(path).last.exists())

    moved = tmp_path / "moved"
    path.rename(moved)
    shutil.rmtree(moved)
    code = ended(child)

    assert code == 1
    assert "error: cannot write" in log.read_text()
    assert not RunDir(path).info.exists()
