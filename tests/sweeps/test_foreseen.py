"""The server of the workers begins before the configuration is composed, and is there only where it is wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.app.multirun.foreseen import wants_workers
from shoal.cli import run
from shoal.sweeps import processes

PROGRAM = """
import json, os, signal, time
from multiprocessing import forkserver
from shoal.sweeps import processes

def server():
    return forkserver._forkserver._forkserver_pid

def lives(pid):
    return os.path.exists(f"/proc/{pid}")

def environment(pid):
    # It is empty for a moment, between a process that begins another and the program of that one.
    while not (found := open(f"/proc/{pid}/environ").read()):
        time.sleep(0.01)
    return found.split("\\0")

processes.PRELOADED = "never_ready"
said = {}
with processes.foreseen():
    unwanted = server()
said["unwanted lives"] = lives(unwanted)
said["threads left as they were"] = "OMP_NUM_THREADS" not in os.environ
with processes.foreseen():
    first = server()
    os.environ["OMP_NUM_THREADS"] = "2"
    processes.warm_up()
    said["of another environment lives"] = lives(first)
    ignored = next(line for line in open(f"/proc/{server()}/status") if line.startswith("SigIgn"))
    said["ignores Ctrl-C"] = bool(int(ignored.split()[1], 16) >> signal.SIGINT - 1 & 1)
    said["environment"] = environment(server())
os.kill(server(), 9)
forkserver._forkserver._stop()
processes._warm = False
with processes.foreseen():
    first = server()
    processes.warm_up()
said["wanted is the same"] = server() == first
said["wanted lives"] = lives(first)
os.kill(first, 9)
print(json.dumps(said))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_foreseen_server_serves_if_wanted_in_its_environment(tmp_path: Path) -> None:
    (tmp_path / "never_ready.py").write_text("import time\ntime.sleep(100)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "OMP_NUM_THREADS=2" in said.pop("environment")
    assert said == {
        "unwanted lives": False,
        "threads left as they were": True,
        "of another environment lives": False,
        "ignores Ctrl-C": True,
        "wanted is the same": True,
        "wanted lives": True,
    }


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-m task=parabola seed=1,2", True),
        ("task=parabola seed=1,2 --multirun sweep.processes=2", True),
        ("-m --config-dir mine task=own seed=1,2", True),
        ("task=parabola", False),
        ("-m task=parabola seed=1,2 --cfg job", False),
        ("-m --help", False),
        ("-m task=parabola seed=1,2 sweep.dry_run=true", False),
        ("-m task=parabola seed=1,2 sweep.processes=0", False),
        ("-m task=parabola seed=1,2 workers=slurm", False),
        ("-m task=parabola seed=1,2 +workers=slurm", False),
        ("-m task=parabola seed=1,2 numerics=portable", False),
        ("-m task=parabola seed=1,2 hydra/launcher=basic", False),
    ],
)
def test_a_sweep_in_worker_processes_is_seen_from_its_words(line: str, *, wanted: bool) -> None:
    assert wants_workers(line.split()) is wanted


def test_workers_are_foreseen_before_a_configuration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @contextmanager
    def foreseen() -> Iterator[None]:
        seen.append("began")
        yield
        seen.append("ended")

    def refused(words: list[str]) -> int:
        seen.append("composed")
        return 2

    monkeypatch.setattr(processes, "foreseen", foreseen)
    monkeypatch.delitem(sys.modules, "torch")  # which is not imported yet where a command begins
    monkeypatch.setattr("shoal.app.command.train", refused)

    code = run(["train", "-m", "task=parabla", "seed=1,2"])

    assert (code, seen) == (2, ["began", "composed", "ended"])
