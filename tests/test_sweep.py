"""A sweep from the command line: every job an ordinary run, whatever happens to its neighbors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from faults import ended, forked
from shoal.app.command import main
from shoal.record.checkpoint import load
from shoal.rundir import RunDir, Status, SweepDir, SweepInfo, read_history, read_info, read_sweep, verify

pytestmark = pytest.mark.usefixtures("undrawn")


SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=3"]
JOBS = '''
import multiprocessing, os, sys, time
from dataclasses import dataclass
import torch
from shoal.tasks import Parabola

@dataclass(frozen=True, kw_only=True)
class Fragile(Parabola):
    """A parabola that breaks when its samples are drawn."""
    how: str = "not"
    seconds: float = 0.0
    def data(self):
        time.sleep(self.seconds)
        if multiprocessing.parent_process() and not os.path.exists("well"):
            match self.how:
                case "raise": raise ValueError("no samples today")
                case "exit": sys.exit(3)
                case "die": os._exit(9)
                case "kill": os.kill(os.getpid(), 9)
        return super().data()
'''
SHELL = """
import sys
from shoal.app.command import main
sys.exit(main(sys.argv[1:]))
"""


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-c", SHELL, "-m", *SMALL, "hydra.sweep.dir=sweep", *overrides]


@dataclass(frozen=True)
class Ended:
    """What a command left on the terminal."""

    returncode: int
    stdout: str
    stderr: str


def sweep(*overrides: str) -> Ended:
    """The command, in this process: its workers then come from a server that is there already."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(command(*overrides)[3:])
    assert "Traceback" not in complained.getvalue()
    return Ended(code, said.getvalue(), complained.getvalue())


def info(path: str = "sweep") -> SweepInfo:
    return read_sweep(SweepDir(Path(path)).info)


def statuses(path: str = "sweep") -> list[str | None]:
    return [job.status for job in info(path).jobs]


def runs(path: str = "sweep") -> list[RunDir]:
    return [SweepDir(Path(path)).run(job) for job in info(path).jobs]


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load(run.last)["state_dict"]
    return state


def same(one: RunDir, other: RunDir) -> bool:
    mine, theirs = weights(one), weights(other)
    rows = read_history(one.history).rows == read_history(other.history).rows
    return rows and all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)


@pytest.fixture
def fragile(workdir: Path) -> None:
    (workdir / "fragile.py").write_text(JOBS)


FRAGILE = ["task._target_=fragile.Fragile", "+task.seconds=0"]


def test_every_job_of_a_sweep_leaves_an_ordinary_run_directory(workdir: Path) -> None:
    found = sweep("optimizer.lr=1e-3,1e-2", "seed=1,2")

    assert found.returncode == 0
    assert [run.path.name for run in runs()] == ["0000", "0001", "0002", "0003"]
    for number, run in enumerate(runs()):
        read = read_info(run.info)
        settings = {"optimizer.lr": [1e-3, 1e-2][number // 2], "seed": number % 2 + 1}
        assert (read.status, read.job, read.sweep, read.differs) == (Status.COMPLETED, number, "sweep", settings)
        assert verify(run.path, read.artifacts) == {}
        assert len(read_history(run.history).rows) == read.epochs == 3
        assert yaml.safe_load(run.config.read_text())["optimizer"]["lr"] == settings["optimizer.lr"]
        hydra = yaml.safe_load((run.hydra / "hydra.yaml").read_text())["hydra"]
        assert (hydra["job"]["num"], hydra["runtime"]["output_dir"]) == (number, str(run.path.absolute()))
        assert f"seed={settings['seed']}" in yaml.safe_load((run.hydra / "overrides.yaml").read_text())
        events = EventAccumulator(str(run.path)).Reload()
        assert len(events.Scalars("val/loss")) == 3
    assert "best of 4 runs" in found.stdout
    assert (workdir / "sweep/summary.csv").read_text().count("completed") == 4


def test_a_run_alone_in_its_sweep_equals_the_same_run_among_others_to_the_bit(workdir: Path) -> None:
    sweep("seed=range(5)")
    sweep("seed=3", "hydra.sweep.dir=other")

    assert same(runs()[3], runs("other")[0])


def test_a_run_of_a_stack_resumes_evaluates_and_predicts_like_any_other(workdir: Path) -> None:
    sweep("seed=0,1", "trainer.max_epochs=2")
    import shoal
    from shoal.app.resume import resume

    run = runs()[1]
    before = read_info(run.info)
    measured = shoal.load(run.path).evaluate("last")
    _, after = resume(run.path, ["trainer.max_epochs=4"])

    assert measured["val/loss"] == pytest.approx(before.final["val/loss"], rel=1e-5)
    assert (after.epochs, after.steps, after.sessions) == (4, 16, 2)
    assert len(read_history(run.history).rows) == 4
    assert len(shoal.load(run.path).predict([0.5])) == 1


def test_adding_values_keeps_what_is_done_and_another_configuration_is_refused(workdir: Path) -> None:
    sweep("seed=0,1")
    first = runs()[0].info.stat().st_mtime_ns

    more = sweep("seed=0,1,2", "optimizer.lr=1e-3,1e-2")
    other = sweep("seed=0,1", "task.noise=0.5")

    assert (more.returncode, statuses()) == (0, ["completed"] * 6)
    assert runs()[0].info.stat().st_mtime_ns == first
    assert other.returncode == 2
    assert "task.noise: 0.03 -> 0.5" in other.stderr


def test_a_wrong_job_is_told_before_anything_trains(workdir: Path) -> None:
    found = sweep("optimizer.lr=1e-3,-1,1e-2")

    assert found.returncode == 2
    assert found.stderr.splitlines()[0] == (
        "error: optimizer.lr=-1 (job 1, command line): must be a number greater than 0"
    )
    assert not (workdir / "sweep/sweep.json").exists()


@pytest.mark.usefixtures("fragile")
def test_jobs_that_raise_exit_or_are_killed_do_not_hurt_the_others() -> None:
    found = sweep(*FRAGILE, "+task.how=not,raise,exit,die,kill", "engine=lightning", "seed=0,1")

    assert found.returncode == 1
    assert statuses() == ["completed"] * 2 + ["failed"] * 8
    reasons = [job.reason or "" for job in info().jobs[2::2]]
    assert reasons == [
        "ValueError: no samples today",
        "SystemExit: 3",
        "its process ended with exit code 9",
        "its process was killed by SIGKILL",
    ]
    assert read_info(runs()[9].info).reason == reasons[3]
    assert "failed  job 8" in found.stderr

    Path("well").touch()
    again = sweep(*FRAGILE, "+task.how=not,raise,exit,die,kill", "engine=lightning", "seed=0,1")
    retried = sweep(
        *FRAGILE, "+task.how=not,raise,exit,die,kill", "engine=lightning", "seed=0,1", "sweep.retry_failed=true"
    )

    assert again.returncode == 1
    assert (retried.returncode, statuses()) == (0, ["completed"] * 10)


@pytest.mark.usefixtures("fragile")
def test_a_stack_whose_process_dies_costs_only_the_run_that_killed_it() -> None:
    found = sweep(*FRAGILE, "+task.how=not,kill", "seed=0,1,2")

    assert found.returncode == 1
    assert statuses() == ["completed"] * 3 + ["failed"] * 3


@pytest.mark.usefixtures("fragile")
def test_fail_fast_stops_at_the_first_failure() -> None:
    found = sweep(*FRAGILE, "+task.how=raise,not", "seed=range(4)", "engine=lightning", "sweep.fail_fast=true")

    assert found.returncode == 1
    assert "failed" in statuses()
    assert None in statuses()


def test_a_diverging_run_leaves_its_neighbors_bitwise_alone(workdir: Path) -> None:
    found = sweep("optimizer=sgd", "optimizer.lr=1e-2,1e9", "seed=0,1")
    sweep("optimizer=sgd", "optimizer.lr=1e-2", "seed=0,1", "hydra.sweep.dir=other")

    assert found.returncode == 1
    assert statuses() == ["completed", "completed", "diverged", "diverged"]
    assert all(same(mine, theirs) for mine, theirs in zip(runs()[:2], runs("other"), strict=True))


def test_what_cannot_be_stacked_trains_alone_and_the_reason_is_said(workdir: Path) -> None:
    found = sweep("seed=0,1", "callbacks.checkpoint.every_n_train_steps=null,2")

    assert found.returncode == 0
    assert "alone: 1, 3: callbacks.checkpoint.every_n_train_steps=2 saves within an epoch" in found.stderr
    assert [read_info(run.info).engine for run in runs()] == ["vectorized", "lightning"] * 2


def test_a_dry_run_shows_jobs_stacks_reasons_and_time_and_writes_nothing(workdir: Path) -> None:
    found = sweep("seed=0,1", "engine=auto,lightning", "sweep.dry_run=true")

    assert found.returncode == 0
    assert "0003  seed=1 engine=lightning" in found.stdout
    assert "stack: 0, 2" in found.stdout
    assert "alone: 1, 3: engine=lightning" in found.stdout
    assert "about 0:0" in found.stdout
    assert list(workdir.iterdir()) == []


def test_a_sweep_writes_its_report_when_asked_to(workdir: Path) -> None:
    found = sweep("seed=0,1", "sweep.report=true")

    assert found.returncode == 0, found.stderr
    assert "sweep/report.html" in found.stdout
    assert "<html" in Path("sweep/report.html").read_text()


@pytest.mark.parametrize("launcher", ["basic"])
def test_hydras_own_launcher_trains_each_job_as_a_run(workdir: Path, launcher: str) -> None:
    found = sweep("seed=0,1", f"hydra/launcher={launcher}")

    assert found.returncode == 0
    assert [read_info(RunDir(Path("sweep") / name).info).status for name in ("0000", "0001")] == ["completed"] * 2


def begun(path: Path = Path("sweep"), seconds: float = 60) -> None:
    """Wait until a run has begun to train."""
    deadline = time.monotonic() + seconds
    while not any(path.glob("*/run.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes(pid: int) -> list[int]:
    """Processes of the session that `pid` began."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with_fields = entry.read_text().rpartition(")")[2].split() if entry.exists() else []
        if with_fields and int(with_fields[3]) == pid:
            found.append(int(entry.parent.name))
    return found


LONG = ["seed=range(6)", "trainer.max_epochs=100", "callbacks.checkpoint.every_seconds=0", "sweep.block=4"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long sweep, left in peace."""
    path = tmp_path_factory.mktemp("uninterrupted") / "sweep"
    assert sweep(*LONG, f"hydra.sweep.dir={path}").returncode == 0
    return path


def launched(*overrides: str) -> int:
    """The command in a copy of this process, which has its workers from the same server; its process id."""

    def work() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forkserver.ForkServer, "ensure_running", lambda _: None)  # it is no child of the copy
            patch.setattr(forkserver, "ensure_running", lambda: None)
            return main(command(*overrides)[3:])

    return forked(work, log=Path("log"))


def gone(find: Callable[[], Sequence[int]], seconds: float = 5) -> bool:
    """Whether there are no such processes any more, soon."""
    deadline = time.monotonic() + seconds
    while find() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not find()


def test_a_killed_sweep_goes_on_bitwise_and_leaves_no_orphans(workdir: Path, uninterrupted: Path) -> None:
    first = subprocess.Popen(command(*LONG), start_new_session=True, stderr=subprocess.DEVNULL)
    begun()
    time.sleep(0.3)

    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    alone = gone(lambda: processes(first.pid))
    again = sweep(*LONG)

    assert alone
    assert again.returncode == 0
    assert {*statuses()} == {"completed"}
    assert all(same(mine, theirs) for mine, theirs in zip(runs(), runs(str(uninterrupted)), strict=True))
    assert not list(Path("sweep/.blocks").glob("*"))


def test_a_killed_sweep_of_runs_that_train_alone_does_so_too(workdir: Path, uninterrupted: Path) -> None:
    overrides = [*LONG, "engine=lightning", "seed=range(4)", "trainer.max_epochs=20"]
    first = launched(*overrides)
    begun()
    time.sleep(0.3)
    workers = {read_info(run.info).pid for run in runs() if run.info.exists()}

    os.kill(first, signal.SIGKILL)
    ended(first)
    alone = gone(lambda: [pid for pid in workers if Path(f"/proc/{pid}").exists()])
    again = sweep(*overrides)
    sweep(*overrides, "hydra.sweep.dir=other")

    assert workers
    assert first not in workers
    assert alone
    assert again.returncode == 0
    assert {*statuses()} == {"completed"}
    assert all(same(mine, theirs) for mine, theirs in zip(runs(), runs("other"), strict=True))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_every_run_and_resume_does_the_rest(
    workdir: Path, uninterrupted: Path, number: int, code: int
) -> None:
    first = launched(*LONG)
    begun()
    os.kill(first, signal.SIGHUP)  # the terminal is gone: nothing stops for that
    time.sleep(0.3)

    os.kill(first, number)
    exit_code = ended(first)
    interrupted = info()
    from shoal.app.sweeps.launch import resume

    resumed = resume(Path("sweep"))

    assert exit_code == code
    assert "go on: shoal resume sweep" in Path("log").read_text()
    assert interrupted.status is Status.INTERRUPTED
    assert Status.INTERRUPTED in [job.status for job in interrupted.jobs]
    assert (resumed, statuses()) == (0, ["completed"] * 6)
    assert all(same(mine, theirs) for mine, theirs in zip(runs(), runs(str(uninterrupted)), strict=True))


def test_a_second_launcher_is_refused_while_the_first_is_at_work(workdir: Path) -> None:
    first = forked(lambda: main(command(*LONG, "sweep.processes=0")[3:]))
    begun()

    second = sweep(*LONG)
    os.kill(first, signal.SIGKILL)
    ended(first)

    assert second.returncode == 2
    assert f"sweep is in use by pid {first}" in second.stderr


def refused(arguments: Sequence[str]) -> str:
    found = sweep(*arguments)
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) <= 3
    return found.stderr


def test_a_sweep_of_no_jobs_and_one_of_ten_million_are_refused_with_the_count(workdir: Path) -> None:
    assert "the sweep has 0 jobs" in refused(["seed=range(0)"])
    assert "10,000,000 jobs (seed 10000000)" in refused(["seed=range(10000000)"])


def test_zipped_values_are_paired_and_listed_jobs_are_taken_as_they_are(workdir: Path) -> None:
    sweep("optimizer.lr=1e-3,1e-2", "seed=5,6", "sweep.zip=[optimizer.lr,seed]")
    listed = "sweep.jobs=[{optimizer.lr:0.1,seed:1},{optimizer.lr:0.2,model.hidden:[3,3]}]"
    sweep(listed, "hydra.sweep.dir=listed")

    assert [job.differs for job in info().jobs] == [
        {"optimizer.lr": 0.001, "seed": 5},
        {"optimizer.lr": 0.01, "seed": 6},
    ]
    assert [job.differs for job in info("listed").jobs] == [
        {"model.hidden": [4], "optimizer.lr": 0.1, "seed": 1},
        {"model.hidden": [3, 3], "optimizer.lr": 0.2, "seed": 0},
    ]


def test_random_samples_are_drawn_from_distributions_for_every_seed(workdir: Path) -> None:
    drawn = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.activation=relu,tanh", "seed=0,1"]
    sweep(*drawn, "sweep.n_samples=3")
    few = [job.differs for job in info().jobs]
    sweep(*drawn, "sweep.n_samples=4")

    assert len(few) == 6
    assert all(1e-4 < differs["optimizer.lr"] < 1e-1 for differs in few)
    assert len({differs["optimizer.lr"] for differs in few}) == 3
    assert [job.differs for job in info().jobs][:6] == few
    assert json.loads(Path("sweep/sweep.json").read_text())["varies"] == ["optimizer.lr", "model.activation", "seed"]
