"""Workers behind real commands whose training only counts: stopped, preempted, on a node that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import cluster
from shoal.errors import DamagedError
from shoal.rundir import JobInfo, RunInfo, Status, SweepDir, SweepInfo, read_info
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.execution import Execution
from shoal.sweeps.executor import Workers
from shoal.sweeps.hosts import Command, Hosts, Slurm
from shoal.sweeps.leases import Leases
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.sweep_progress import SweepProgress

PROGRAM = Path(__file__).parent.parent / "support" / "programs" / "standing_in.py"
N = 2
"""Runs, each a block of its own."""


@pytest.fixture
def python(workdir: Path) -> str:
    """What stands for the Python of a worker: it has its temporary files in a folder of its own."""
    path = workdir / "python"
    Path("far").mkdir()
    path.write_text(f"#!/bin/sh\nTMPDIR={workdir}/far exec {sys.executable} -u {PROGRAM}\n")
    path.chmod(0o755)
    return str(path)


def sweep(hosts: Hosts, meanwhile: Callable[[], None]) -> dict[int, RunInfo]:
    """What becomes of the runs."""
    folder = SweepDir(Path("sweep").absolute())
    folder.path.mkdir()
    jobs = [JobInfo(number, f"{number:04d}", f"hash {number}") for number in range(N)]
    ledger = Ledger(folder, SweepInfo(id="s", task="parabola", status=Status.RUNNING, jobs=jobs))
    new = RunInfo(id="r", task="parabola", status=Status.RUNNING, engine="lightning", seed=0)
    config = {"trainer": {"max_epochs": 1}}
    blocks = [Block((Assignment(job.number, folder.run(job).path, config, new),)) for job in jobs]

    def begin(block: Block) -> None:
        for each in block.assignments:
            each.path.mkdir(exist_ok=True)

    beside = threading.Thread(target=meanwhile)
    beside.start()
    with SweepProgress(N) as progress:
        execution = Execution(Workers(hosts), ledger, progress, begin=begin, leases=Leases(folder, 1))
        execution.run(blocks)
    beside.join()
    return execution.results


def counting(folder: str, n: int) -> list[RunInfo]:
    """What run.json says of so many runs, once they count."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(DamagedError, OSError):
            found = [read_info(path.with_name("run.json")) for path in Path(folder).rglob("count")]
            if len(found) == n:
                return found
        time.sleep(0.02)
    raise AssertionError("the runs do not begin")


@pytest.mark.parametrize("shared", [True, False])
def test_what_a_worker_has_saved_that_is_wanted_back_goes_on(shared: bool, python: str) -> None:
    def wanted() -> None:
        pid = counting("sweep" if shared else "far", N)[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)

    found = sweep(Command(command=["env"], python=python, shared=shared), wanted)

    assert [info.status for info in found.values()] == [Status.COMPLETED] * N
    assert sorted(info.sessions for info in found.values()) == [1, 2]
    assert [Path(f"sweep/{number:04d}/count").read_text() for number in range(N)] == ["20"] * N
    assert not Path("sweep/.leases").exists()
    assert list(Path("far").iterdir()) == []


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster that soon takes a node that is silent for gone."""
    if why := cluster.missing():
        pytest.skip(why)
    monkeypatch.setattr(cluster, "SETTINGS", cluster.SETTINGS.replace("SlurmdTimeout=10", "SlurmdTimeout=2"))
    with cluster.cluster(tmp_path_factory.mktemp("slurm")) as settings:
        monkeypatch.setenv("SLURM_CONF", str(settings))
        yield


@pytest.mark.usefixtures("slurm")
def test_a_node_that_is_gone_and_comes_back_writes_nothing_more(python: str) -> None:
    frozen: list[int] = []

    def gone() -> None:
        worker = next(info.pid for info in counting("sweep", N) if info.host == "n1")
        assert worker is not None
        frozen.extend([worker, _parent(worker), _daemon("n1")])
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)

    try:
        found = sweep(Slurm(python=python, extra=["--exclusive"]), gone)
        before = _contents()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{frozen[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert [info.status for info in found.values()] == [Status.COMPLETED] * N
    assert [info.host for info in found.values()] == ["n0"] * N
    assert not Path(f"/proc/{frozen[0]}").exists()
    assert _contents() == before


def _contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("sweep").rglob("*") if path.is_file()}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _daemon(node: str) -> int:
    """The node's daemon in this test's own cluster: another process may test beside another one."""
    found = subprocess.run(["pgrep", "-f", f"^slurmd -D -N {node}"], capture_output=True, text=True, check=True)
    own = f"SLURM_CONF={os.environ['SLURM_CONF']}".encode()
    return next(pid for pid in map(int, found.stdout.split()) if own in Path(f"/proc/{pid}/environ").read_bytes())
