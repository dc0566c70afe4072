"""A cluster of two nodes on this machine, by SLURM's own daemons."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "srun", "munged", "mungekey")
SETTINGS = """
ClusterName=shoal
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
AuthInfo=socket={folder}/munge/socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
KillWait=2
SlurmdParameters=config_overrides
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 State=UNKNOWN
PartitionName=short Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """What there is none of here; None where a cluster can be started."""
    if os.geteuid() != 0:
        return "only root may start SLURM's daemons"
    found = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"no {', '.join(found)}" if found else None


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """The file of settings of a cluster that runs meanwhile; its daemons' files are in `folder`."""
    for name in ("state", "spool.n0", "spool.n1", "munge"):
        (folder / name).mkdir(mode=0o755)
    settings = folder / "slurm.conf"
    settings.write_text(SETTINGS.format(folder=folder, host=socket.gethostname().split(".")[0], ports=_ports(3)))
    with _daemons(folder, settings):
        yield settings


@contextmanager
def _daemons(folder: Path, settings: Path) -> Iterator[None]:
    munge = folder / "munge"
    environment = {**os.environ, "SLURM_CONF": str(settings), "PATH": _path()}
    subprocess.run(["mungekey", "--create", f"--keyfile={munge}/key"], check=True, env=environment)
    files = [f"--{name}-file={munge}/{name}" for name in ("key", "log", "pid", "seed")]
    commands = [
        ["munged", "--force", "--foreground", f"--socket={munge}/socket", *files],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", name] for name in ("n0", "n1")),
    ]
    with (folder / "output").open("wb") as output:
        started = []
        try:
            for command in commands:
                started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
                if command[0] == "munged":
                    _until(lambda: (munge / "socket").exists())
            _until(lambda: _idle(environment))
            yield
        finally:
            for daemon in reversed(started):
                daemon.terminate()
            for daemon in started:
                _end(daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """Wait until it has ended; one that was given up by the others may wait for them for ever."""
    try:
        daemon.wait(timeout=10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _idle(environment: dict[str, str]) -> bool:
    """Whether both nodes wait for work."""
    told = subprocess.run(["sinfo", "-hN", "-o", "%T"], env=environment, capture_output=True, text=True)
    return told.stdout.split() == ["idle", "idle"]


def _until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "SLURM does not start"
        time.sleep(0.1)


def _ports(n: int) -> list[int]:
    """Ports that nobody listens at just now."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
