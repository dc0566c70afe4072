"""An ssh server on this machine, with keys of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


def missing() -> str | None:
    """What there is none of here; None where a server can be started."""
    found = [name for name in ("sshd", "ssh", "ssh-keygen") if _program(name) is None]
    return f"no {', '.join(found)}" if found else None


@contextmanager
def server(folder: Path) -> Iterator[list[str]]:
    """Options of ssh that enter the server, which runs meanwhile."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # root's server will not start without
    port = _port()
    settings = folder / "sshd_config"
    settings.write_text(SETTINGS.format(folder=folder, port=port))
    with (folder / "output").open("wb") as output:
        daemon = subprocess.Popen([_program("sshd") or "", "-D", "-e", "-f", str(settings)], stderr=output)
        try:
            _until_it_answers(port, folder / "output")
            keys = [f"-i{folder}/user", "-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=no"]
            yield [f"-p{port}", *keys, f"-oUserKnownHostsFile={folder}/known"]
        finally:
            daemon.terminate()
            daemon.wait()


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")


def _port() -> int:
    """One that nobody listens at just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _until_it_answers(port: int, output: Path) -> None:
    for _ in range(200):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(output.read_text())
