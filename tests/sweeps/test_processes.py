"""The server of the workers is a copy of the command where that is as clean as a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import contextvars, json, os, sys, threading
from multiprocessing import forkserver
from shoal.startup import defer
from shoal.sweeps import processes

processes.TRAINING, processes.PRELOADED = "in_common", "looking"
if "not of shoal's own" not in sys.argv:
    defer(own_process=True)
if "torch" in sys.argv:
    sys.modules["torch"] = object()
if "a thread" in sys.argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
left_open = os.open(__file__, os.O_RDONLY)
os.set_inheritable(left_open, True)
contextvars.ContextVar("asked").set("in the launcher")
processes.warm_up()
server = forkserver._forkserver._forkserver_pid
while not os.path.exists(f"{server}.json"):
    assert os.waitpid(server, os.WNOHANG) == (0, 0)
with open(f"/proc/{server}/status") as status:
    ignored = int(next(line for line in status if line.startswith("SigIgn")).split()[1], 16)
with open(f"{server}.json") as file:
    said = json.load(file)
print(json.dumps({**said, "ignores Ctrl-C": bool(ignored & 2), "server": server, "launcher": os.getpid()}))
"""
LOOKING = """
import contextvars, json, os, sys, threading
from multiprocessing import forkserver

found = {
    "copy": "in_common" in sys.modules,
    "files": [each.name for each in os.scandir("/proc/self/fd") if os.path.realpath(each.path).endswith(".py")],
    "context": len(contextvars.copy_context()),
    "locked": forkserver._forkserver._lock.locked(),
}
with open("found.json", "w") as file:
    json.dump(found, file)
os.rename("found.json", f"{os.getpid()}.json")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize(
    ("launcher", "copied"), [("clean", True), ("torch", False), ("a thread", False), ("not of shoal's own", False)]
)
def test_a_server_is_a_copy_of_a_clean_command_and_as_a_new_process(
    launcher: str, *, copied: bool, tmp_path: Path
) -> None:
    said = _begun(launcher, tmp_path)

    assert said.pop("launcher") != (server := said.pop("server"))
    assert said == {"copy": copied, "files": [], "context": 0, "locked": False, "ignores Ctrl-C": True}
    # It hears that its launcher is gone, for it has none of that one's open files.
    assert _ends(server)


def _begun(launcher: str, folder: Path) -> dict[str, Any]:
    """What the server of a process of this kind looked like."""
    for name, text in {"program": PROGRAM, "looking": LOOKING, "in_common": ""}.items():
        (folder / f"{name}.py").write_text(text)
    path = os.pathsep.join([str(folder), *sys.path])
    with (folder / "said").open("w+") as said:
        # Into a file: the server has the launcher's output, too, and may be there a moment longer.
        subprocess.run(
            [sys.executable, "program.py", launcher],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=said,
            check=True,
        )
        said.seek(0)
        found: dict[str, Any] = json.load(said)
    return found


def _ends(pid: int, seconds: float = 20) -> bool:
    """Whether there is no such process any more, soon."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # One that has ended may wait for whoever has taken it over.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
