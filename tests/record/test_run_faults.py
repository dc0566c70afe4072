"""Faults of single runs beside those of their writes: other disks, early deaths, used directories, jumping clocks."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import faults.slow
from faults import ended, forked
from faults.state import differences, state
from faults.training import OFTEN, SMALL, train, until
from shoal.app.resume import resume
from shoal.cli import train as main
from shoal.errors import ShoalError, UsageError
from shoal.record import run_training
from shoal.rundir import RunDir, Status, new_id, read_history, read_info

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a file system other than that of temporary files."""
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is no second file system here: /dev/shm is missing or the same as that of temporary files")
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


def test_a_run_on_another_disk_than_temporary_files_leaves_nothing_there(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = state(train(tmp_path / "whole", *OFTEN, "trainer.max_epochs=40").path)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    child = forked(lambda: train(memory / "run", *OFTEN, "trainer.max_epochs=40") and 0)
    until(RunDir(memory / "run").last.exists)
    os.kill(child, signal.SIGKILL)
    ended(child)
    resume(memory / "run")

    assert differences(expected, state(memory / "run")) == []
    assert list(scratch.iterdir()) == []
    assert not list(memory.rglob("*.partial"))


def test_a_run_killed_while_it_has_yet_to_obey_a_signal_goes_on_bitwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [*OFTEN, "+callbacks.slow._target_=faults.slow.Slow"]
    monkeypatch.setattr(faults.slow, "SECONDS", 0.0)
    expected = state(train(tmp_path / "whole", *slow).path)

    monkeypatch.setattr(faults.slow, "SECONDS", 20.0)
    log = tmp_path / "log"
    child = forked(lambda: train(tmp_path / "run", *slow) and 0, log=log)
    until(lambda: log.exists() and "slow" in log.read_text())
    os.kill(child, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    code = ended(child)
    monkeypatch.setattr(faults.slow, "SECONDS", 0.0)
    resume(tmp_path / "run", trusted=["faults"])

    assert code == -signal.SIGKILL
    assert differences(expected, state(tmp_path / "run")) == []


def test_runs_that_start_in_the_same_instant_have_a_directory_each(workdir: Path) -> None:
    instant = time.time() + 0.3

    def work() -> int:
        time.sleep(max(0.0, instant - time.time()))
        return main([*SMALL, "trainer.max_epochs=1"])

    codes = [ended(child) for child in [forked(work) for _ in range(6)]]

    found = [read_info(file).status for file in workdir.glob("outputs/parabola/*/run.json")]
    assert codes == [0] * 6
    assert found == [Status.COMPLETED] * 6


def test_a_used_directory_is_refused_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run")

    code = main([*SMALL, "optimizer=sgd", "task.noise=0.1", f"hydra.run.dir={tmp_path / 'run'}"])
    same = main([*SMALL, f"hydra.run.dir={tmp_path / 'run'}"])

    said = capsys.readouterr().err.splitlines()
    assert code == same == 2
    assert said[0].startswith(f"error: {tmp_path / 'run'} holds a run already, with ")
    assert "task.noise: 0.03 -> 0.1" in said[0]
    assert "optimizer: shoal.optimizers.Adam -> shoal.optimizers.SGD" in said[0]
    assert f"shoal resume {tmp_path / 'run'}" in said[1]
    assert "of this very configuration" in said[2]


def test_a_run_that_cannot_open_its_files_is_recorded_as_failed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunDir(path).history.mkdir(parents=True)  # in the way

    with pytest.raises(ShoalError, match=r"cannot write .*metrics\.csv"):
        train(path)

    info = read_info(RunDir(path).info)
    assert (info.status, info.ended is not None) == (Status.FAILED, True)
    assert "metrics.csv" in (info.reason or "")


def test_the_end_of_summer_time_leaves_duration_and_times_of_a_run_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_training._Session._fit

    def fit(self: Any) -> Any:
        trainer = real(self)
        monkeypatch.setenv("TZ", "UTC-1")  # an hour less on the clock on the wall
        time.tzset()
        return trainer

    monkeypatch.setattr(run_training._Session, "_fit", fit)
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        info = read_info(train(tmp_path / "run").info)
    finally:
        monkeypatch.undo()
        time.tzset()

    began, end = (datetime.fromisoformat(str(each)) for each in (info.started, info.ended))
    assert 0 < info.seconds < 60
    assert end.replace(tzinfo=None) < began.replace(tzinfo=None)
    assert end >= began


def test_ids_sort_by_time_through_the_hour_that_summer_time_has_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        before = new_id()
        monkeypatch.setenv("TZ", "UTC-1")
        time.tzset()
        after = new_id()
    finally:
        monkeypatch.undo()
        time.tzset()

    assert before[:15] <= after[:15]


def test_a_new_learning_rate_is_taken_under_a_plateau_scheduler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eager = ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.9", "optimizer.lr=0.01"]
    run = train(tmp_path / "run", *eager)

    resume(run.path, ["optimizer.lr=0.1", "trainer.max_epochs=4"])

    assert [row["lr"] for row in read_history(run.history).rows] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert "changed  optimizer.lr: 0.01 -> 0.1" in capsys.readouterr().err


def test_a_plateau_scheduler_goes_by_the_epochs_that_validate(tmp_path: Path) -> None:
    eager = ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.9", "optimizer.lr=0.01"]

    run = train(tmp_path / "run", *eager, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=6")

    rates = [row["lr"] for row in read_history(run.history).rows]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.001, 0.001])


def test_a_finished_run_is_not_begun_again_by_its_lock(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    run.lock.unlink()

    with pytest.raises(UsageError, match="is finished"):
        resume(run.path)
