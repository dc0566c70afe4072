"""The life of a worker process, however it was started: blocks come in, events go out, until its launcher is gone.

A frame to a worker begins with a letter that says what it is, so that the thread that reads it need not load torch.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from shoal import machine
from shoal.review.wording import counted
from shoal.rundir.lease import holding, watch
from shoal.sweeps.block import Block, Event, RunEnded
from shoal.sweeps.carrying import Brought, Parcel

Send = Callable[[Any], None]
"""Has the launcher hear something."""
Bring = Callable[..., None]
"""Sends the directories of these runs, and where it is asked for the `state` of the whole stack."""
BLOCK, SIGNAL = b"B", b"S"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that have a training save and stop."""
IN_STEP = ("shoal", "torch")
"""Distributions that a worker has to have in the launcher's version."""


@dataclass(frozen=True)
class Hello:
    """What a worker says of itself before it is given anything."""

    host: str
    pid: int
    versions: Mapping[str, str]
    processor: str
    """Its name."""
    kind: str
    """All that the system tells of the processor's kind."""
    cores: frozenset[int] = frozenset()
    """The numbers of those that it may use."""
    gpus: tuple[str, ...] = ()
    """Names of those that it may use, as far as a driver tells."""

    @classmethod
    def here(cls) -> Hello:
        """The introduction of this process."""
        versions = {name: machine.installed(name) for name in IN_STEP}
        processor, kind = machine.processor(), machine.kind()
        return cls(socket.gethostname(), os.getpid(), versions, processor, kind, machine.core_numbers(), machine.gpus())

    def other_versions(self, launcher: Hello) -> str:
        """The packages that it has in another version than its launcher; empty where there are none."""
        pairs = ((name, self.versions[name], mine) for name, mine in launcher.versions.items())
        return " and ".join(f"{name} {its}, the launcher {mine}" for name, its, mine in pairs if its != mine)

    @property
    def equipment(self) -> str:
        """In words, what there is to compute with."""
        return f"{counted(len(self.cores), 'core')}, {', '.join(self.gpus) or 'no GPU'}"

    def other_processor(self, launcher: Hello) -> str:
        """A sentence on its processor, where that is of another kind than its launcher's; else empty."""
        if self.kind == launcher.kind:
            return ""
        told = f"{self.host} computes with {self.processor}, the launcher with {launcher.processor}"
        return f"{told}: the last bits may differ, but not with numerics=portable"


@dataclass(frozen=True)
class Finished:
    """A block has come to its end."""


@dataclass(frozen=True)
class Preempted:
    """The worker is wanted back by whoever lends it: its block is saved, and another worker goes on with it."""

    reason: str


def framed(block: Any) -> bytes:
    """A block as it is sent."""
    return BLOCK + pickle.dumps(block)


def asked(number: int) -> bytes:
    """That a worker is to take this signal, as it is sent."""
    return SIGNAL + str(number).encode()


def serve(inbox: Connection, outbox: Connection, own: Path | None = None) -> None:
    """Train the blocks that arrive and report on them; where the launcher is gone, the process ends at once.

    The folder that is its `own` goes with it.
    """
    for number in STOPS:
        # While it trains there are handlers of the training's own; at any other time a signal ends it, below.
        signal.signal(number, signal.default_int_handler)
    inner = _Inner(inbox, own)
    # Heard in threads of their own: the main thread trains, perhaps for minutes within one call of torch.
    for work in (inner.listen, watch):
        threading.Thread(target=work, daemon=True).start()
    try:
        outbox.send(Hello.here())
        # Late: the launcher has had its answer by then. A copy of the server has this module already.
        import shoal.sweeps.preload  # noqa: F401
        from shoal.sweeps.block_training import Known, train_block

        known: Known = {}
        while (block := inner.next()) is not None:
            # That runs were interrupted is told last: only then is it known whether the launcher asked for it.
            held: list[RunEnded] = []
            with at_hand(block, outbox.send) as (block, bring), holding(block.lease):
                train_block(block, partial(told, outbox.send, held, bring), known)
                bring(*(each.number for each in held), state=True)
            inner.busy = False
            wanted_back = inner.wanted_back()
            if held and wanted_back:
                outbox.send(wanted_back)
                return
            for each in held:
                outbox.send(each)
            outbox.send(Finished())
    except KeyboardInterrupt:  # it was not in training
        with suppress(OSError):
            if wanted_back := inner.wanted_back():
                outbox.send(wanted_back)
    except (EOFError, OSError):
        return  # what was not reported is known to be lost
    finally:
        inner.clear()


def told(send: Send, held: list[RunEnded], bring: Bring, event: Event) -> None:
    """Pass an event on; that a run was interrupted waits until it is known who has asked for that."""
    if isinstance(event, RunEnded) and event.info.status == "interrupted":
        held.append(event)
        return
    if isinstance(event, RunEnded):
        bring(event.number)
    send(event)


@contextmanager
def at_hand(given: Block | Parcel, send: Send) -> Iterator[tuple[Block, Bring]]:
    """The block with its files where this process finds them, and what brings them back to where they came from."""
    if isinstance(given, Block):
        yield given, lambda *numbers, state=False: None
        return
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        block = given.opened(Path(folder) / "sweep")
        paths = {each.number: each.path for each in block.assignments}

        def bring(*numbers: int, state: bool = False) -> None:
            for number in numbers:
                send(Brought.run(number, paths[number]))
            if state:
                send(Brought.state_of(block))

        yield block, bring


class _Inner:
    """What a thread hears while the main thread trains."""

    def __init__(self, inbox: Connection, own: Path | None) -> None:
        self._inbox = inbox
        self._own = own
        self._blocks: SimpleQueue[bytes | None] = SimpleQueue()
        self._gone = False
        self.busy = False
        """Whether the main thread has a block."""
        self._waits = False
        """Whether it waits for one: it imports torch first."""
        self._asked: list[int] = []
        self._signals, written = os.pipe()
        for end in (self._signals, written):
            # Python asks it of the end that is written; the other is read to learn whether there is anything.
            os.set_blocking(end, False)
        # Python writes each signal there that it receives, whoever handles it: a training has handlers of its own.
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)

    def wanted_back(self) -> Preempted | None:
        """That a signal came which the launcher has not sent."""
        try:
            received = [*os.read(self._signals, 4096)]
        except BlockingIOError:
            return None
        unasked = [each for each in received if each in STOPS and each not in self._asked]
        return Preempted(f"{signal.Signals(unasked[0]).name} came to its worker") if unasked else None

    def listen(self) -> None:
        """Hear until the launcher is gone."""
        try:
            while frame := self._inbox.recv_bytes():
                if frame.startswith(SIGNAL):
                    self._asked.append(int(frame[1:]))
                    # By way of the system, as a signal from outside: the main thread then handles it.
                    os.kill(os.getpid(), self._asked[-1])
                else:
                    self._blocks.put(frame[1:])
        except (EOFError, OSError):
            self._gone = True
            if not self._waits:  # nobody is left to hear of it: a block is begun again by whoever goes on
                self.clear()
                # The main thread may be within one call of torch, which nothing gentler ends.
                os._exit(int(self.busy))
            self._blocks.put(None)

    def clear(self) -> None:
        """Take away the folder that is this process's own."""
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def next(self) -> Any | None:
        """The next block; None where there will be none."""
        self._waits = True
        frame = self._blocks.get()
        self.busy, self._waits = True, False
        return None if frame is None or self._gone else pickle.loads(frame)
