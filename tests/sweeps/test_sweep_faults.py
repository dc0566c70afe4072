"""Faults of sweeps: full, read-only and deleted disks, jobs that break in a stack, few files, signals, hang-ups."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults import NoMount, assert_refused_without_permission, cut, ended, forked, in_child, small_disk
from shoal.cli import train as main
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import RunDir, Status, read_info
from shoal.sweeps import links
from sweeps import info, same, statuses

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=3", "callbacks=quiet"]
HERE = ["sweep.processes=0"]
LONG = ["trainer.max_epochs=3000", "callbacks.checkpoint.every_seconds=0"]
BREAKING = '''
import multiprocessing, resource, sys
from dataclasses import dataclass
import torch
from shoal.tasks import Parabola

@dataclass(frozen=True, kw_only=True)
class Fragile(Parabola):
    """A parabola that breaks when its samples are drawn in a worker."""
    how: str = "not"
    def data(self):
        if multiprocessing.parent_process():
            match self.how:
                case "raise": raise ValueError("no samples today")
                case "exit": sys.exit(3)
                case "memory":
                    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
                    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, -1))
                    try:
                        torch.ones(2**28)
                    finally:
                        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        return super().data()
'''


def sweep(path: Path | str, *words: str) -> int:
    return main(["-m", *SMALL, *words, f"hydra.sweep.dir={path}"])


def until(condition: Callable[[], bool], child: int) -> None:
    while not condition():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it has ended before that"
        time.sleep(0.005)


@pytest.mark.parametrize("engine", ["auto", "lightning"])
def test_a_job_that_breaks_in_a_stack_costs_no_other_one(
    engine: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workdir / "breaking.py").write_text(BREAKING)
    ways = ["task._target_=breaking.Fragile", "+task.how=not,raise,exit,memory", f"engine={engine}"]
    monkeypatch.syspath_prepend(str(workdir))

    code = sweep("sweep", *ways, "seed=0,1")

    jobs = info(Path("sweep")).jobs
    reasons = {job.differs["task.how"]: job.reason or "" for job in jobs}
    assert code == 1
    assert [job.status for job in jobs] == ["completed"] * 2 + ["failed"] * 6
    assert reasons["raise"] == "ValueError: no samples today"
    assert reasons["exit"] == "SystemExit: 3"
    assert "memory" in reasons["memory"]


def test_a_full_disk_fails_the_sweep_in_words_and_space_lets_it_go_on(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", size="300k") as disk:
            path, log = disk / "sweep", tmp_path / "log"

            code = in_child(lambda: sweep(path, *HERE, "seed=range(10)"), log=log)
            kept = tmp_path / "sweep"
            shutil.copytree(path, kept)

            said = log.read_text()
            assert code == 1
            assert "Traceback" not in said
            assert "No space left on device" in said
            assert "bytes are free there" in said
    except NoMount as reason:
        pytest.skip(f"no file system of its own here: {reason}")
    assert sweep(kept, *HERE, "seed=range(10)", "sweep.retry_failed=true") == 0
    assert statuses(kept) == [Status.COMPLETED] * 10


def test_a_sweep_that_may_not_write_is_refused_in_three_lines(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir(mode=0o555)

    words = ["-m", *SMALL, *HERE, "seed=0,1", f"outputs={outputs}"]
    assert_refused_without_permission(lambda: main(words), log=tmp_path / "log")


def test_a_sweep_whose_directory_is_deleted_fails_in_words(tmp_path: Path) -> None:
    path, log = tmp_path / "sweep", tmp_path / "log"
    child = forked(lambda: sweep(path, *HERE, *LONG, "seed=0,1"), log=log)
    until(lambda: any(path.glob(".blocks/*.ckpt")), child)

    path.rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved")
    code = ended(child)

    said = log.read_text()
    assert code == 1
    assert "cannot write" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("hard", "code"), [(200, 0), (48, 1)])
def test_a_stack_of_more_runs_than_open_files_are_allowed_trains_or_says_so(
    hard: int, code: int, tmp_path: Path
) -> None:
    def work() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
        return sweep(tmp_path / "sweep", *HERE, "seed=range(60)", "trainer.max_epochs=1")

    found = in_child(work, log=tmp_path / "log")

    said = (tmp_path / "log").read_text()
    assert found == code, said
    assert code == 0 or "Too many open files" in said
    assert "Traceback" not in said
    if code == 0:
        assert statuses(tmp_path / "sweep") == [Status.COMPLETED] * 60


@pytest.mark.parametrize(("numbers", "code"), [([signal.SIGUSR1], 143), ([signal.SIGINT, signal.SIGINT], 130)])
def test_a_signal_or_two_leave_all_runs_of_a_stack_interrupted_and_whole(
    numbers: list[signal.Signals], code: int, tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    child = forked(lambda: sweep(path, *HERE, *LONG, "seed=0,1,2"), log=tmp_path / "log")
    until(lambda: any(path.glob(".blocks/*.ckpt")), child)

    for number in numbers:
        os.kill(child, number)
        time.sleep(0.003)
    found = ended(child)

    runs = [RunDir(path / job.run) for job in info(path).jobs]
    assert found == code, (tmp_path / "log").read_text()
    assert statuses(path) == [Status.INTERRUPTED] * 3
    assert all(read_info(run.info).status is Status.INTERRUPTED for run in runs)
    assert all(load(run.last)["global_step"] > 0 for run in runs if run.last.exists() or len(numbers) == 1)


def test_a_stack_with_a_damaged_state_starts_again_and_ends_the_same(tmp_path: Path) -> None:
    path, words = (
        tmp_path / "sweep",
        [*HERE, "seed=0,1", "callbacks.checkpoint.every_seconds=0", "trainer.max_epochs=20"],
    )
    child = forked(lambda: sweep(path, *words))
    until(lambda: any(path.glob(".blocks/*.ckpt")), child)
    os.kill(child, signal.SIGKILL)
    ended(child)
    [kept] = path.glob(".blocks/*.ckpt")
    cut(kept, kept.stat().st_size - 20)

    code = sweep(path, *words)
    sweep(tmp_path / "whole", *words)

    assert code == 0
    assert "is damaged" in (path / "0000" / "train.log").read_text()
    assert all(same(RunDir(path / name), RunDir(tmp_path / "whole" / name)) for name in ("0000", "0001"))


def test_a_sweep_goes_on_when_the_terminal_hangs_up(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    child = forked(lambda: sweep(path, *HERE, "seed=0,1", *LONG, "trainer.max_epochs=50"), log=tmp_path / "log")
    until(lambda: any(path.glob("*/run.json")), child)

    os.kill(child, signal.SIGHUP)

    assert ended(child) == 0
    assert statuses(path) == [Status.COMPLETED] * 2


@pytest.mark.parametrize(("allowed", "code"), [(1, 0), (0, 1)])
def test_where_few_processes_are_allowed_there_are_fewer_workers_or_an_error(
    allowed: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, started = links.Forked.__init__, []

    def begin(self: Any, *args: Any) -> None:
        if len(started) >= allowed:  # as fork does under ulimit -u, which the superuser has none of
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(self)
        real(self, *args)

    monkeypatch.setattr(links.Forked, "__init__", begin)

    found = sweep(tmp_path / "sweep", "sweep.processes=3", "sweep.block=2", "seed=range(6)", "trainer.max_epochs=1")

    said = capsys.readouterr().err
    assert found == code, said
    assert "Traceback" not in said
    if allowed:
        assert statuses(tmp_path / "sweep") == [Status.COMPLETED] * 6
    else:
        assert "error: no worker process can be started: [Errno 11] Resource temporarily unavailable" in said


@pytest.mark.parametrize("name", ["with space", "ünïcödé-日本", "a=b", "[x]{y}"])
def test_a_sweep_in_a_directory_of_any_name_works(name: str, workdir: Path) -> None:
    (workdir / name).mkdir()
    os.chdir(workdir / name)

    code = main(["-m", *SMALL, *HERE, "seed=0,1", "trainer.max_epochs=1"])

    assert code == 0
    assert len(list(Path().glob("outputs/parabola/*/*/run.json"))) == 2
