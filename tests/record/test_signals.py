"""Asked to stop, hung up on and read by nobody: a run ends where it can go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faults import ended, forked
from faults.training import LONG, OFTEN, SMALL, train, typed, until
from shoal.record import run_training
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import (
    RunDir,
    Status,
    read_info,
)
from shoal.signals import Interrupted

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)], ids=lambda each: str(each)
)
def test_a_signal_saves_at_the_next_step_and_ends_with_its_exit_code(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    path, log = tmp_path / "run", tmp_path / "log"
    child = forked(typed(path, *LONG), log=log)
    until(lambda: RunDir(path).history.exists())

    os.kill(child, number)

    assert ended(child) == code
    info = read_info(RunDir(path).info)
    assert info.status is Status.INTERRUPTED
    assert f"interrupted by {number.name} at step" in log.read_text()
    assert f"go on: shoal resume {path}" in log.read_text()
    assert load(RunDir(path).last)["global_step"] > 0


def test_a_second_signal_stops_at_once_and_damages_nothing(tmp_path: Path) -> None:
    path, log = tmp_path / "run", tmp_path / "log"
    slow = "callbacks.slow._target_=faults.slow.Slow"
    child = forked(typed(path, *LONG, *OFTEN, f"+{slow}"), log=log)
    until(lambda: RunDir(path).last.exists())

    os.kill(child, signal.SIGINT)
    time.sleep(0.1)
    before = time.monotonic()
    os.kill(child, signal.SIGINT)
    code = ended(child)

    assert code == 130
    assert time.monotonic() - before < 2
    assert read_info(RunDir(path).info).status is Status.INTERRUPTED
    load(RunDir(path).last)


def test_a_signal_when_all_is_done_leaves_a_completed_run_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_training._Session._end

    def late(self: Any, *args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        real(self, *args)

    monkeypatch.setattr(run_training._Session, "_end", late)

    with pytest.raises(Interrupted) as raised:
        train(tmp_path / "run")

    assert raised.value.exit_code == 143
    assert read_info(RunDir(tmp_path / "run").info).status is Status.COMPLETED


def test_training_goes_on_when_the_terminal_hangs_up(tmp_path: Path) -> None:
    path = tmp_path / "run"
    child = forked(typed(path, *LONG))
    until(lambda: RunDir(path).history.exists())

    os.kill(child, signal.SIGHUP)
    rows = RunDir(path).history.stat().st_size
    until(lambda: RunDir(path).history.stat().st_size > rows)
    os.kill(child, signal.SIGTERM)

    assert ended(child) == 143


def test_training_goes_on_when_nobody_reads_its_output(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; from shoal.cli import train as main; sys.exit(main())", *SMALL]
    reader, writer = os.pipe()
    os.close(reader)

    ended = subprocess.run(
        [*words, "callbacks=default", "callbacks.progress.line_seconds=0.001", f"hydra.run.dir={tmp_path / 'run'}"],
        stdout=writer,
        stderr=writer,
        timeout=120,
    )
    os.close(writer)

    assert ended.returncode == 0
    assert read_info(RunDir(tmp_path / "run").info).status is Status.COMPLETED
