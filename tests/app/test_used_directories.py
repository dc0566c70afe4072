"""One process a run, and one run a directory."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults import ended, forked
from faults.training import LONG, OFTEN, train, typed, until
from shoal.app.resume import resume
from shoal.errors import ShoalError, UsageError
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import (
    RunDir,
    Status,
    claim,
    new_id,
    read_info,
    write_json,
)

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_run_that_is_being_trained_refuses_a_second_process(tmp_path: Path) -> None:
    path = tmp_path / "run"
    child = forked(typed(path, *LONG, *OFTEN))
    until(lambda: RunDir(path).last.exists())

    with pytest.raises(UsageError, match=rf"is in use by pid {child} on .* since 20") as refused:
        resume(path)
    os.kill(child, signal.SIGKILL)
    ended(child)
    resume(path, [f"trainer.max_steps={load(RunDir(path).last)['global_step'] + 10}"])

    assert len(str(refused.value).splitlines()) <= 3
    assert read_info(RunDir(path).info).status is Status.COMPLETED


def test_a_lock_left_behind_by_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    info = read_info(run.info)
    write_json(run.info, {**vars(info), "status": "running", "pid": os.getpid(), "best": None})  # a pid that lives
    run.lock.write_text(str(os.getpid()))

    with claim(run):
        resume_is_possible = True

    assert resume_is_possible


def test_many_runs_that_start_in_one_instant_have_a_directory_each() -> None:
    with ThreadPoolExecutor(32) as pool:
        names = list(pool.map(lambda _: new_id(), range(2000)))

    assert len(set(names)) == 2000


def test_a_directory_that_holds_a_run_is_not_used_for_another(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    before = run.last.read_bytes()

    with pytest.raises(UsageError, match="holds a run already"):
        train(tmp_path / "run", "optimizer.lr=0.1")

    assert run.last.read_bytes() == before


def test_a_finished_run_and_a_change_it_cannot_take_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run")

    with pytest.raises(UsageError, match="is finished: 3 epochs, 15 steps"):
        resume(run.path)
    with pytest.raises(UsageError, match="is finished"):
        resume(run.path, ["trainer.max_epochs=2"])
    with pytest.raises(ShoalError, match=r"model.hidden: \[6\] -> \[7\]; seed: 0 -> 1"):
        resume(run.path, ["model.hidden=[7]", "seed=1"])
    resume(run.path, ["trainer.max_epochs=4", "optimizer.lr=0.01"])

    said = capsys.readouterr().err
    assert "changed  trainer.max_epochs: 3 -> 4" in said
    assert "changed  optimizer.lr: 0.001 -> 0.01" in said


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    other = train(tmp_path / "other", "model.hidden=[7]")
    run.last.unlink()
    shutil.copy(other.last, run.last)

    with pytest.raises(UsageError, match=r"last\.ckpt is of another model"):
        resume(run.path, ["trainer.max_epochs=4"])
