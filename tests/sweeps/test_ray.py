"""Tasks of a Ray cluster of two nodes: the runs of a sweep are those of this machine's processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shoal.rundir import Status, read_info
from shoal.sweeps import hosts
from sweeps import ELSEWHERE, SMALL, as_here, info, runs, sweep, words

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that trains nothing, and two nodes of a core each."""
    pytest.importorskip("ray", reason="shoal[ray] is not installed: make ray")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    found.shutdown()


@pytest.fixture
def there(cluster: Any, workdir: Path) -> list[str]:
    """The overrides that have the sweep trained by the cluster."""
    return ["workers=ray", f"workers.address='{cluster.address}'"]


SCALES = {
    "cluster_name": "scales",
    "max_workers": 2,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "core": {
            "resources": {"CPU": 1, "object_store_memory": 10**8},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "head_node_type": "ray.head.default",
    "auth": {},
    "docker": {},
    # All of what its own launcher fills in.
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "cluster_synced_files": [],
    "rsync_exclude": [],
    "rsync_filter": [],
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.1,
}
"""A cluster whose head trains nothing, with up to two nodes, processes of this machine, for what waits."""


class Scaling:
    """A cluster of Ray's own for tests, which begins a node for what waits and ends it when nothing does."""

    def __init__(self, folder: Path) -> None:
        self._mark = f"SHOAL_TEST={folder}".encode()
        self.address = "127.0.0.1:6379"  # the nodes that are pretended look for no other port
        settings = folder / "scales.json"
        settings.write_text(json.dumps(SCALES))
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--head", "--num-cpus=0"]
        options = [f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false"]
        environment = {"SHOAL_TEST": str(folder), "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
        subprocess.run(
            [*ray, *options, f"--autoscaling-config={settings}"],
            env=os.environ | environment,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    def nodes(self) -> int:
        """How many there are, the head among them."""
        return sum(path.joinpath("comm").read_text().strip() == "raylet" for path in self._processes())

    def end(self) -> None:
        """End its processes: by `ray stop` those of every other cluster of this machine would end, too."""
        while left := [*self._processes()]:
            for path in left:
                with suppress(ProcessLookupError):
                    os.kill(int(path.name), signal.SIGKILL)
            time.sleep(0.1)

    def _processes(self) -> Iterator[Path]:
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark in (path / "environ").read_bytes().split(b"\0"):
                    yield path


@pytest.fixture
def scaling(workdir: Path) -> Iterator[Scaling]:
    pytest.importorskip("ray", reason="shoal[ray] is not installed: make ray")
    found = Scaling(workdir)
    yield found
    found.end()


def launched(*overrides: str) -> subprocess.Popen[bytes]:
    """The command as a process of its own: one with threads of Ray's cannot be copied."""
    command = [sys.executable, "-m", "shoal.cli", "train", *words(*overrides)]
    with Path("log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def ended(launcher: subprocess.Popen[bytes]) -> int:
    return launcher.wait(timeout=300)


def training() -> set[int]:
    """The processes of the tasks, once two of them train."""
    found: set[int] = set()

    def two() -> bool:
        found.update(read_info(path).pid or 0 for path in Path("sweep").glob("*/run.json"))
        return len(found) == 2

    assert until(two, seconds=200), Path("log").read_text()
    return found


def until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_without_ray_it_is_said_what_installs_it(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "find_spec", lambda name: None)

    found = sweep(*SMALL, "seed=0,1", "workers=ray")

    assert found.returncode == 2
    assert found.stderr.splitlines() == ["error: workers=ray needs Ray", "  pip install 'shoal[ray]'"]


@pytest.mark.parametrize("shared", ["true", "false"])
def test_a_cluster_gives_the_bits_of_this_machine(shared: str, there: list[str], here: Path) -> None:
    launcher = launched(*ELSEWHERE, *there, f"workers.shared={shared}")

    assert ended(launcher) == 0, Path("log").read_text()
    assert as_here(here)
    assert len({read_info(run.info).pid for run in runs()}) == 2


def test_a_task_that_is_killed_costs_its_block_only(there: list[str], here: Path) -> None:
    launcher = launched(*ELSEWHERE, *there)

    os.kill(next(iter(training())), signal.SIGKILL)

    assert ended(launcher) == 0, Path("log").read_text()
    assert "to start again, each by itself: its task ended" in Path("log").read_text()
    assert as_here(here)


def test_ctrl_c_saves_what_trains_in_tasks_and_resume_goes_on_here(there: list[str], here: Path) -> None:
    launcher = launched(*ELSEWHERE, *there)
    training()

    launcher.send_signal(signal.SIGINT)
    code = ended(launcher)
    stopped = info()
    resumed = sweep(*ELSEWHERE)

    assert code == 130, Path("log").read_text()
    assert stopped.status is Status.INTERRUPTED
    assert Status.INTERRUPTED in [job.status for job in stopped.jobs]
    assert resumed.returncode == 0
    assert all(read_info(run.info).sessions == 2 for run in runs())
    assert as_here(here)


def test_a_launcher_that_is_killed_leaves_no_task_and_goes_on(there: list[str], here: Path) -> None:
    launcher = launched(*ELSEWHERE, *there)
    tasks = training()

    launcher.kill()
    ended(launcher)
    gone = until(lambda: not any(Path(f"/proc/{each}").exists() for each in tasks), seconds=30)
    again = launched(*ELSEWHERE, *there)

    assert gone
    assert ended(again) == 0, Path("log").read_text()
    assert as_here(here)


def test_a_node_that_is_gone_costs_its_block_only(cluster: Any, there: list[str], here: Path) -> None:
    launcher = launched(*ELSEWHERE, *there)
    training()

    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    assert ended(launcher) == 0, Path("log").read_text()
    assert as_here(here)


def test_a_cluster_that_scales_adds_nodes_for_blocks_and_takes_them_away(scaling: Scaling, here: Path) -> None:
    before = scaling.nodes()
    launcher = launched(*ELSEWHERE, "workers=ray", f"workers.address='{scaling.address}'")

    grown = until(lambda: scaling.nodes() == 3 or launcher.poll() is not None, seconds=120) and scaling.nodes() == 3
    code = ended(launcher)
    shrunk = until(lambda: scaling.nodes() == 1, seconds=90)

    assert (before, grown, code) == (1, True, 0), Path("log").read_text()
    assert as_here(here)
    assert shrunk


def test_a_cluster_that_is_not_there_is_told_with_the_way_to_one(workdir: Path) -> None:
    pytest.importorskip("ray", reason="shoal[ray] is not installed: make ray")

    launcher = launched(*SMALL, "seed=0,1", "workers=ray", "workers.address='127.0.0.1:1'")

    assert ended(launcher) == 2
    problem, hint = Path("log").read_text().splitlines()[-2:]
    assert problem.startswith("error: workers.address=127.0.0.1:1: ")
    assert "ray start --head" in hint
