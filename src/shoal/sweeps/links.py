"""The launcher's end of a worker process: it sends, it receives, and it says why the worker ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from shoal.machine import PLACE
from shoal.sweeps.processes import context, without_main
from shoal.sweeps.serving import serve

MARK = b"\nshoal worker, protocol 1\n"
"""What the program says first. A login shell may print whatever it likes before that."""
CARRIED = ("OMP_NUM_THREADS", "MKL_CBWR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "SHOAL_DEBUG")
"""Variables of the launcher's environment that decide how a worker computes."""
PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""


@dataclass(frozen=True)
class Surroundings:
    """Where and how a worker is to work: as its launcher does."""

    folder: str | None
    """None: one of its own."""
    path: Sequence[str]
    """Where it finds the user's modules."""
    environment: Mapping[str, str]

    @classmethod
    def here(cls, *, shared: bool) -> Surroundings:
        """Those of this process, for one that finds its folders where they are if they are `shared`."""
        carried = {name: os.environ[name] for name in CARRIED if name in os.environ}
        path = [os.path.abspath(each) for each in sys.path]
        return cls(os.getcwd(), path, carried) if shared else cls(None, [""], carried)

    def enter(self) -> Path | None:
        """Work there from now on; the folder that is to be taken away in the end, where it was made for that.

        Raises:
            OSError: where there is no such folder.
        """
        own = None if self.folder else Path(tempfile.mkdtemp(prefix="shoal-"))
        os.chdir(self.folder or str(own))
        sys.path += [each for each in self.path if each not in sys.path]
        os.environ.update(self.environment)
        return own


class Link(ABC):
    """The connection to a worker."""

    inbox: Connection
    outbox: Connection
    shared = True
    """Whether the worker finds the folders of the launcher where they are."""

    def send(self, frame: bytes) -> None:
        """Send it; that the worker is gone is told when it is next heard."""
        with contextlib.suppress(OSError):
            self.outbox.send_bytes(frame)

    def receive(self) -> Any | None:
        """What the worker says; None where that is not all there yet.

        Raises:
            EOFError: where it is gone.
            OSError: likewise.
        """
        return self.inbox.recv()

    @abstractmethod
    def ending(self) -> str:
        """What ended it."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""

    @abstractmethod
    def hang_up(self) -> None:
        """Have it see that its launcher is gone."""

    @abstractmethod
    def close(self, *, patiently: bool) -> None:
        """Hang up and see it end; `patiently` where it has nothing to do, and so ends by itself."""


class Forked(Link):
    """A process of this machine, a copy of a server that has torch."""

    def __init__(self, number: int) -> None:
        """`number` is its place among those of this machine."""
        ours, theirs = context().Pipe()
        self.inbox = self.outbox = ours
        self._process = context().Process(target=_forked, args=(theirs, number), daemon=True)
        with without_main():
            self._process.start()
        # Else this process had the worker's end open as well, and would never hear that it is gone.
        theirs.close()

    def ending(self) -> str:
        self._process.join()
        return _ending(self._process.exitcode)

    def kill(self) -> None:
        self._process.kill()

    def hang_up(self) -> None:
        self.inbox.close()

    def close(self, *, patiently: bool) -> None:
        self.hang_up()
        self._process.join(timeout=PATIENCE if patiently else 0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Commanded(Link):
    """A process somewhere, behind a command that carries its standard input and output."""

    def __init__(self, command: Sequence[str], *, shared: bool = True) -> None:
        self.shared = shared
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the link); a pipe that nobody reads would stop it
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C on the terminal is for the launcher, which passes it on.
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._errors, start_new_session=True)
        assert self._process.stdin
        assert self._process.stdout
        # Duplicates: a connection closes its file itself, and so does the process object.
        self.outbox = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self.inbox = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()
        # The last bytes that were heard before the mark; None once it was there.
        self._heard: bytes | None = b""
        with contextlib.suppress(OSError):
            self.outbox.send(Surroundings.here(shared=shared))

    def receive(self) -> Any | None:
        if self._heard is not None and not self._begun():
            return None
        return super().receive() if self.inbox.poll() else None

    def _begun(self) -> bool:
        """Whether the worker's first message begins here; what its shell printed before that is passed over."""
        assert self._heard is not None
        while select.select([self.inbox], [], [], 0)[0]:
            # Byte by byte: what comes right behind the mark belongs to the first message.
            byte = os.read(self.inbox.fileno(), 1)
            if not byte:
                raise EOFError
            self._heard = (self._heard + byte)[-len(MARK) :]
            if self._heard == MARK:
                self._heard = None
                return True
        return False

    def ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        ended = _ending(self._process.poll())
        return f"{ended}: {lines[-1].strip()}" if lines else ended

    def kill(self) -> None:
        self.hang_up()
        self._process.terminate()  # srun and ssh end what they have started

    def hang_up(self) -> None:
        self.outbox.close()

    def close(self, *, patiently: bool) -> None:
        self.hang_up()
        if not patiently:
            self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def _forked(connection: Connection, number: int) -> None:
    os.environ[PLACE] = str(number)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C goes to the launcher alone, which passes it on
    serve(connection, connection)


def _ending(code: int | None) -> str:
    if code is None:
        return "its process does not answer"
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"
