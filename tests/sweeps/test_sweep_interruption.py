"""A sweep that is killed or stopped goes on to the bit, and is no two processes' at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest

from faults import ended, forked
from shoal.cli import train as main
from shoal.rundir import Status, read_info
from spread import one_of
from sweeps import info, runs, same, statuses, sweep, words

pytestmark = pytest.mark.usefixtures("undrawn")

SHELL = """
import sys
from shoal.cli import train as main
sys.exit(main(sys.argv[1:]))
"""


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
            return main(words(*overrides))

    return forked(work, log=Path("log"))


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
        with suppress(OSError):  # a process that ended after it was listed is none of them
            if int(entry.read_text().rpartition(")")[2].split()[3]) == pid:
                found.append(int(entry.parent.name))
    return found


def gone(find: Callable[[], Sequence[int]], seconds: float = 5) -> bool:
    """Whether there are no such processes any more, soon."""
    deadline = time.monotonic() + seconds
    while find() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not find()


def test_a_killed_sweep_goes_on_bitwise_and_leaves_no_orphans(workdir: Path, uninterrupted: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", SHELL, *words(*LONG)], start_new_session=True, stderr=subprocess.DEVNULL
    )
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


@pytest.mark.parametrize(("number", "code"), one_of(2, [(signal.SIGINT, 130), (signal.SIGTERM, 143)]))
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
    from shoal.app.train import go_on

    resumed = go_on(Path("sweep")).tell()

    assert exit_code == code
    assert "go on: shoal resume sweep" in Path("log").read_text()
    assert interrupted.status is Status.INTERRUPTED
    assert Status.INTERRUPTED in [job.status for job in interrupted.jobs]
    assert (resumed, statuses()) == (0, ["completed"] * 6)
    assert all(same(mine, theirs) for mine, theirs in zip(runs(), runs(str(uninterrupted)), strict=True))


def test_a_second_launcher_is_refused_while_the_first_is_at_work(workdir: Path) -> None:
    first = forked(lambda: main(words(*LONG, "sweep.processes=0")))
    begun()

    second = sweep(*LONG)
    os.kill(first, signal.SIGKILL)
    ended(first)

    assert second.returncode == 2
    assert f"sweep is in use by pid {first}" in second.stderr
