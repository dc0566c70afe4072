"""Where blocks are trained: in this process, or in worker processes that die alone, but never outlive this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from shoal.errors import ShoalError
from shoal.sweeps.block import Advanced, Block, Ended, Event
from shoal.sweeps.processes import context, without_main

POLL_SECONDS = 0.2
"""How long a signal may wait while nothing happens."""


@dataclass(frozen=True)
class Lost:
    """The process that trained a block is gone, and with it what the block had not finished."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """A block has come to its end."""


Happening = tuple[Block, Event | Lost | Finished]
Watch = Callable[[Block, Advanced], None]
"""Told how far a block is while it trains."""
Take = Callable[[], Block | None]
"""The next block to train; None where there is none now. One that was lost may come again."""


class Executor(ABC):
    """Trains blocks."""

    @abstractmethod
    def run(self, take: Take, watch: Watch) -> Iterator[Happening]:
        """Train blocks, taking one when there is room for it; what happens, in the order in which it happens.

        How far a block is, `watch` is told at once instead.
        """

    @abstractmethod
    def stop(self, number: int) -> None:
        """Begin no more blocks, and let signal `number` ask those in training to save and stop."""

    @abstractmethod
    def kill(self) -> None:
        """Stop at once, saving nothing."""


class InProcess(Executor):
    """One block after the other, here; a job that ends its process ends this one."""

    def __init__(self) -> None:
        self._stopped = False

    def run(self, take: Take, watch: Watch) -> Iterator[Happening]:
        from shoal.sweeps.block_training import Known, train_block

        known: Known = {}
        while not self._stopped and (block := take()) is not None:
            events: list[Event] = []
            train_block(block, partial(_told, watch, block, events), known)
            yield from ((block, event) for event in events)
            yield block, Finished()
            self._stopped |= any(isinstance(each, Ended) and each.info.status == "interrupted" for each in events)

    def stop(self, number: int) -> None:
        self._stopped = True

    def kill(self) -> None:
        raise KeyboardInterrupt


def _told(watch: Watch, block: Block, events: list[Event], event: Event) -> None:
    """Hand on how far a block is, and keep the rest: what it leads to is no part of the block's training."""
    if isinstance(event, Advanced):
        watch(block, event)
    else:
        events.append(event)


class Workers(Executor):
    """Worker processes with one thread each; a block has one of them to itself."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._context = context()
        self._workers: list[_Worker] = []
        self._signal: int | None = None
        self._killed = False
        self._held: Block | None = None
        """A block that waits for a worker to be free, since no further one can be started."""

    def run(self, take: Take, watch: Watch) -> Iterator[Happening]:
        try:
            while self._fill(take):
                for block, event in self._happenings():
                    if isinstance(event, Advanced):
                        watch(block, event)
                    else:
                        yield block, event
        finally:
            for worker in self._workers:
                worker.close()

    def stop(self, number: int) -> None:
        if self._signal is None:
            self._signal = number
            for worker in self._workers:
                worker.ask(number)

    def kill(self) -> None:
        self._killed = True
        for worker in self._workers:
            worker.process.kill()

    def _fill(self, take: Take) -> bool:
        """Give every idle worker a block; whether anything is in training."""
        while self._signal is None and not self._killed:
            idle = next((worker for worker in self._workers if worker.block is None), None)
            if idle is None and len(self._workers) >= self.n:
                break
            block, self._held = self._held or take(), None
            if block is None:
                break
            idle = idle or self._started()
            if idle is None:
                self._held = block
                break
            idle.begin(block)
        return any(worker.block for worker in self._workers)

    def _started(self) -> _Worker | None:
        """A new worker; None where the system allows no process beside those that there are.

        Raises:
            ShoalError: where it allows none at all.
        """
        try:
            worker = _Worker(self._context)
        except (OSError, EOFError) as error:
            self.n = len(self._workers)
            if self.n:
                return None
            problem = f"no worker process can be started: {error}"
            raise ShoalError(problem, hint="train in this one: sweep.processes=0") from error
        self._workers.append(worker)
        return worker

    def _happenings(self) -> Iterator[Happening]:
        busy = {worker.connection: worker for worker in self._workers if worker.block}
        for ready in wait(list(busy), timeout=POLL_SECONDS):
            worker = busy[ready]
            block = worker.block
            assert block is not None
            event = worker.receive()
            if isinstance(event, Lost):
                self._workers.remove(worker)
            yield block, event


class _Worker:
    """A worker process as seen from outside."""

    def __init__(self, context: Any) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with without_main():
            self.process.start()
        theirs.close()
        self.block: Block | None = None

    def begin(self, block: Block) -> None:
        self.block = block
        self.connection.send(block)

    def receive(self) -> Event | Lost | Finished:
        """What the worker sends, or `Lost` if its process is gone."""
        try:
            event: Event | Finished = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.block = None
            return Lost(_ending(self.process.exitcode))
        if isinstance(event, Finished):
            self.block = None
        return event

    def ask(self, number: int) -> None:
        if self.block is not None and self.process.pid:
            os.kill(self.process.pid, number)

    def close(self) -> None:
        self.connection.close()
        self.process.join(timeout=5 if self.block is None else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection) -> None:
    """The life of a worker process."""
    from shoal.sweeps.block_training import Known, train_block

    known: Known = {}
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C goes to the launcher alone, which passes it on
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            block = connection.recv()
            train_block(block, connection.send, known)
            connection.send(Finished())
        except (EOFError, OSError, KeyboardInterrupt):
            return  # what was not reported is known to be lost


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"
