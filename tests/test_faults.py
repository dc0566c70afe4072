"""Faults: killed at every write, full and failing disks, read-only and deleted folders, damage, NaN, signals, locks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import shoal
from faults import Faults, NoMount, bits, cut, ended, flipped, forked, in_child, obey_permissions, small_disk
from faults.state import differences, state
from runs import make_sweep
from shoal.app.command import main
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.errors import DamagedError, ShoalError, UsageError
from shoal.record import interruption, training
from shoal.record.checkpoint import load
from shoal.rundir import (
    RunDir,
    Status,
    claim,
    new_id,
    read_history,
    read_info,
    read_sweep,
    unsealed,
    write_bytes,
    write_json,
)

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task.n_samples=50", "task.batch_size=8", "model.hidden=[6]", "trainer.max_epochs=3", "callbacks=quiet"]
OFTEN = ["callbacks.checkpoint.every_n_train_steps=2"]
LONG = ["trainer.max_epochs=100000"]


def train(path: Path, *words: str) -> RunDir:
    start([*SMALL, *words, f"hydra.run.dir={path}"])
    return RunDir(path)


def typed(path: Path, *words: str) -> Callable[[], int]:
    """The command line that trains there, in a copy of this process."""
    return lambda: main([*SMALL, *words, f"hydra.run.dir={path}"])


def goes_on(path: Path) -> None:
    """Start again what was stopped, as a person would."""
    run = RunDir(path)
    if not run.info.exists():
        shutil.rmtree(path, ignore_errors=True)
        train(path, *OFTEN)
    elif read_info(run.info).status is not Status.COMPLETED:
        resume(path)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


# Writes


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


def test_a_full_disk_is_told_with_what_is_needed_and_left_and_destroys_nothing(tmp_path: Path) -> None:
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
            resume(path, ["trainer.max_epochs=1", "callbacks.checkpoint.every_seconds=10"])
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

    def work() -> int:
        obey_permissions()
        return typed(outputs / "run")()

    code = in_child(work, log=tmp_path / "log")

    said = (tmp_path / "log").read_text()
    assert code == 1
    assert said.startswith("error: cannot write ")
    assert "Permission denied" in said
    assert len(said.splitlines()) <= 3
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


# Damage


def test_every_flipped_bit_and_every_cut_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    file = train(tmp_path / "run").last
    whole = file.read_bytes()

    for bit in bits(file, 300, seed=1):
        flipped(file, bit)
        with pytest.raises(DamagedError):
            unsealed(file)
        file.write_bytes(whole)
    for length in range(0, len(whole), max(1, len(whole) // 200)):
        cut(file, length)
        with pytest.raises(DamagedError):
            unsealed(file)
        file.write_bytes(whole)


def test_a_damaged_last_checkpoint_is_named_and_the_best_one_is_offered(tmp_path: Path) -> None:
    run = train(tmp_path / "run", *OFTEN)
    cut(run.last, run.last.stat().st_size - 100)

    with pytest.raises(UsageError) as refused:
        resume(run.path, ["trainer.max_epochs=4"])
    path, info = resume(run.best, ["trainer.max_epochs=4"])

    assert "last.ckpt is damaged" in str(refused.value)
    assert f"resume={run.best}" in str(refused.value)
    assert (path, info.status, info.epochs) == (run, Status.COMPLETED, 4)


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
@pytest.mark.parametrize("kind", ["history", "events"])
def test_a_run_with_a_damaged_history_goes_on_and_says_what_is_lost(
    kind: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = state(train(tmp_path / "whole", "trainer.max_epochs=6").path)
    run = train(tmp_path / "run")
    file = run.history if kind == "history" else run.events()[0]
    if damage == "cut":
        cut(file, file.stat().st_size // 3)
    elif damage == "flip":
        flipped(file, 8 * (file.stat().st_size // 3))
    else:
        file.unlink()

    resume(run.path, ["trainer.max_epochs=6"])

    found = state(run.path)
    said = capsys.readouterr().err
    assert differences(expected["last"]["state_dict"], found["last"]["state_dict"]) == []
    if kind == "history":
        assert "warning: " in said
        assert str(file) in said
    else:
        assert found["history"] == expected["history"]
        assert {step for step, name, _ in found["curves"] if name == "lr"} == {5, 10, 15, 20, 25, 30}
        assert damage == "gone" or "written anew from metrics.csv" in said


def test_run_json_cut_anywhere_is_damaged_and_never_something_else(tmp_path: Path) -> None:
    file = train(tmp_path / "run").info
    whole = file.read_bytes()

    for length in range(0, len(whole) - 2, 37):
        cut(file, length)
        with pytest.raises(DamagedError, match=r"run\.json is damaged"):
            read_info(file)
        file.write_bytes(whole)


def test_sweep_json_cut_anywhere_is_damaged_and_never_something_else(tmp_path: Path) -> None:
    file = make_sweep(tmp_path, {"seed": range(4)}).info
    whole = file.read_bytes()

    for length in range(0, len(whole) - 2, 61):
        cut(file, length)
        with pytest.raises(DamagedError, match=r"sweep\.json is damaged"):
            read_sweep(file)
        file.write_bytes(whole)


def test_metrics_cut_within_a_number_are_damaged(tmp_path: Path) -> None:
    file = train(tmp_path / "run").history
    whole = file.read_bytes()

    for length in range(len(whole) - 1):
        cut(file, length)
        if not whole[:length].endswith(b"\n"):
            with pytest.raises(DamagedError):
                read_history(file)
        file.write_bytes(whole)


# Numbers


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_finite_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"

    steep = ["optimizer=sgd", "optimizer.lr=3", "model.activation=identity", "model.hidden=[8,8,8]"]
    code = main([*SMALL, *OFTEN, *steep, f"hydra.run.dir={path}"])

    said = capsys.readouterr().err
    info = read_info(RunDir(path).info)
    assert code == 1
    assert info.status is Status.DIVERGED
    assert "at step" in said
    assert "loss is " in said
    assert "trainer.gradient_clip_val" in said
    assert len(said.splitlines()) <= 3
    assert "the run diverged" in (info.reason or "")
    weights = load(RunDir(path).last)["state_dict"].values()
    assert all(bool(weight.isfinite().all()) for weight in weights)


def test_a_learning_rate_of_a_billion_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"

    code = main([*SMALL, "optimizer=sgd", "optimizer.lr=1e9", f"hydra.run.dir={path}"])

    assert code == 1
    assert read_info(RunDir(path).info).status is Status.DIVERGED
    assert "lower optimizer.lr" in capsys.readouterr().err


# Signals


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
    real = training._Session._end

    def late(self: Any, *args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        real(self, *args)

    monkeypatch.setattr(training._Session, "_end", late)

    with pytest.raises(interruption.Interrupted) as raised:
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
    words = [sys.executable, "-c", "import sys; from shoal.app.command import main; sys.exit(main())", *SMALL]
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


# One process a run, one run a directory


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


# The world around


def test_durations_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, began = time.time, time.time()
    monkeypatch.setattr(time, "time", lambda: real() - (86400 if real() - began > 0.05 else 0))

    info = read_info(train(tmp_path / "run").info)

    assert 0 < info.seconds < 60


@pytest.mark.parametrize("name", ["with space", "ünïcödé-日本", "a=b", "n" * 255, "quote'd", "a,b", "[x]", "{y}"])
def test_a_directory_of_any_name_works_or_is_refused_in_one_line(
    name: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = workdir / name
    here.mkdir()
    os.chdir(here)

    code = main(SMALL)

    said = capsys.readouterr().err
    assert code == 0, said
    assert len(list(here.glob("outputs/parabola/*/run.json"))) == 1


def test_a_name_too_long_for_the_disk_is_refused_in_three_lines(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*SMALL, f"outputs={'n' * 256}"])

    said = capsys.readouterr().err
    assert code == 1
    assert said.startswith("error: cannot write ")
    assert len(said.splitlines()) <= 3


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    def work() -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        return typed(tmp_path / "run", *OFTEN)()

    assert in_child(work, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()


def test_a_figure_that_cannot_be_drawn_does_not_lose_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shoal.record import figures

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no fonts here")

    monkeypatch.setattr(figures, "fit_figure", broken)

    run = train(tmp_path / "run")

    assert read_info(run.info).status is Status.COMPLETED
    assert "no fonts here" in capsys.readouterr().err
    assert len(shoal.load(run.path).predict([0.5])) == 1


def test_a_run_trains_outside_the_main_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=[tmp_path / "run"])

    thread.start()
    thread.join()

    assert read_info(RunDir(tmp_path / "run").info).status is Status.COMPLETED
