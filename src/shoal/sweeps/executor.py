"""Where blocks are trained: in this process, or in worker processes that die alone, but never outlive this one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.connection import wait

from shoal.errors import ShoalError
from shoal.review.wording import counted
from shoal.sweeps.block import Advanced, Block, Event, Noted, RunEnded, Unequipped
from shoal.sweeps.carrying import Brought, Parcel
from shoal.sweeps.hosts import Linked
from shoal.sweeps.links import Link
from shoal.sweeps.serving import Finished, Hello, Preempted, asked, framed

POLL_SECONDS = 0.2
"""How long a signal may wait while nothing happens."""


@dataclass(frozen=True)
class Lost:
    """The process that trained a block is gone, and with it what the block had not finished."""

    reason: str


Happening = tuple[Block, Event | Lost | Preempted | Finished]
NOBODY = Block(())
"""The block of what happens to a worker that has none."""
Watch = Callable[[Block, Advanced], None]
"""Told how far a block is while it trains."""
Take = Callable[[], Block | None]
"""The next block to train; None where there is none now. One that was lost may come again."""
Waiting = Callable[[], int]
"""How many blocks there are to take."""


class Executor(ABC):
    """Trains blocks."""

    @abstractmethod
    def run(self, take: Take, watch: Watch, waiting: Waiting) -> Iterator[Happening]:
        """Train blocks, taking one when there is room for it; what happens, in the order in which it happens.

        How far a block is, `watch` is told at once instead.
        """

    @abstractmethod
    def stop(self, number: int) -> None:
        """Begin no more blocks, and let signal `number` ask those in training to save and stop."""

    @abstractmethod
    def kill(self) -> None:
        """Stop at once, saving nothing."""


def watched(happenings: Iterator[Happening], watch: Watch) -> Iterator[Happening]:
    """The happenings without those that only say how far a block is: `watch` is told of these."""
    for block, event in happenings:
        if isinstance(event, Advanced):
            watch(block, event)
        else:
            yield block, event


class InProcess(Executor):
    """One block after the other, here; a job that ends its process ends this one."""

    def __init__(self) -> None:
        self._stopped = False

    def run(self, take: Take, watch: Watch, waiting: Waiting) -> Iterator[Happening]:
        from shoal.sweeps.block_training import Known, train_block

        known: Known = {}
        while not self._stopped and (block := take()) is not None:
            # Handed on when the block is through: this generator stands still while it trains.
            events: list[Event] = []
            train_block(block, partial(_told, watch, block, events), known)
            yield from ((block, event) for event in events)
            yield block, Finished()
            # The signal that stopped this run was meant for the whole sweep, whoever has heard it.
            self._stopped |= any(isinstance(each, RunEnded) and each.info.status == "interrupted" for each in events)

    def stop(self, number: int) -> None:
        self._stopped = True

    def kill(self) -> None:
        # Called where a signal is handled, which is in the thread that trains.
        raise KeyboardInterrupt


def _told(watch: Watch, block: Block, events: list[Event], event: Event) -> None:
    """Tell `watch` at once how far a block is, and keep other events until its training is over."""
    if isinstance(event, Advanced):
        watch(block, event)
    else:
        events.append(event)


def other_processor(hello: Hello, launcher: Hello, told: set[str]) -> Iterator[Happening]:
    """Say that a worker's processor is unlike the launcher's; once of each kind, by the names in `told`."""
    if (unlike := hello.other_processor(launcher)) and hello.processor not in told:
        told.add(hello.processor)
        yield NOBODY, Noted(unlike)


class Workers(Executor):
    """Worker processes with one thread each; a block has one of them to itself."""

    def __init__(self, hosts: Linked) -> None:
        self._hosts = hosts
        self._places = dict(enumerate(hosts.places()))
        """Where there may be a worker, by its number."""
        self._workers: list[_Worker] = []
        self._signal: int | None = None
        self._killed = False
        self._told: set[str] = set()
        """Processors unlike the launcher's that were named."""
        self.stays = False
        """Whether the workers are there after a `run` as well, until `close`."""

    @cached_property
    def _here(self) -> Hello:
        """The introduction that this process would give as a worker."""
        return Hello.here()

    def expect(self, n: int) -> None:
        """Start workers for up to `n` blocks before there is any; what keeps one from it is told when it is wanted."""
        with suppress(OSError):
            for number in sorted(self._free)[: max(0, n - len(self._workers))]:
                self._workers.append(_Worker(number, self._hosts.link(number)))

    def close(self) -> None:
        """Let all workers go."""
        self._let_go([*self._workers])

    def _let_go(self, workers: Sequence[_Worker]) -> None:
        # All are told before one is waited for: each takes a moment to end.
        for worker in workers:
            worker.link.hang_up()
        for worker in workers:
            # One that waits for a block ends by itself when its connection does; one at work would train on.
            worker.link.close(patiently=worker.idle)
            self._workers.remove(worker)

    def run(self, take: Take, watch: Watch, waiting: Waiting) -> Iterator[Happening]:
        try:
            while self._fill(take, waiting):
                yield from watched(self._happenings(), watch)
        finally:
            if not self.stays:
                self.close()

    def stop(self, number: int) -> None:
        if self._signal is None:
            self._signal = number
            for worker in self._workers:
                worker.ask(number)

    def kill(self) -> None:
        self._killed = True
        for worker in self._workers:
            worker.link.kill()

    @property
    def ends(self) -> bool:
        """Whether no more blocks are begun."""
        return self._signal is not None or self._killed

    @property
    def _spare(self) -> list[_Worker]:
        """Those with nothing to do where nothing waits: each holds a place that others may queue for."""
        # One that had a block is likely to have one of the next launch, too.
        kept = (each.used and self.stays and not self.ends for each in self._workers)
        return [
            each for each, stays in zip(self._workers, kept, strict=True) if not (each.block or each.leaves or stays)
        ]

    @property
    def _free(self) -> set[int]:
        """The places without a worker."""
        return self._places.keys() - {worker.number for worker in self._workers}

    def _fill(self, take: Take, waiting: Waiting) -> bool:
        """Give every idle worker a block, and start workers for those that wait; whether there is anything to wait for.

        Raises:
            ShoalError: where no worker can be started.
        """
        while not self.ends and (idle := next((worker for worker in self._workers if worker.idle), None)):
            block = take()
            if block is None:
                break
            idle.begin(block)
        n = 0 if self.ends else waiting()
        if not n and self._hosts.apart:
            self._let_go(self._spare)
        # Each of those that are starting will take a block: only for the others more are wanted.
        while len(self._workers) < len(self._places) and n > sum(worker.starts for worker in self._workers):
            self._start()
        # One that starts may take what waits, and one that leaves makes room for another.
        return any(worker.block or (n and (worker.starts or worker.leaves)) for worker in self._workers)

    def _start(self) -> None:
        """Start a worker; where the system allows no process beside those that there are, there are no more."""
        number = min(self._free)
        try:
            self._workers.append(_Worker(number, self._hosts.link(number)))
        except (OSError, EOFError) as error:
            self._give_up(number, str(error))

    def _give_up(self, number: int, reason: str) -> None:
        """Do without this worker.

        Raises:
            ShoalError: where there is no other one.
        """
        del self._places[number]
        if not self._places:
            raise ShoalError(f"no worker process can be started: {reason}", hint=self._hosts.hint)

    def _happenings(self) -> Iterator[Happening]:
        # One that is idle has nothing to say; that it is gone is heard once it is given a block.
        heard = {worker.link.inbox: worker for worker in self._workers if not worker.idle}
        for ready in wait(list(heard), timeout=POLL_SECONDS):
            worker = heard[ready]  # type: ignore[index]
            try:
                event = worker.receive()
            except (EOFError, OSError):
                yield from self._lost(worker)
                continue
            if isinstance(event, Hello):
                yield from self._welcome(worker, event)
            elif isinstance(event, Brought):
                event.put(worker.block or NOBODY)
            elif isinstance(event, Unequipped):
                yield from self._unequipped(worker, event)
            elif isinstance(event, Finished | Preempted):
                block, worker.block, worker.leaves = worker.block, None, isinstance(event, Preempted)
                if block is not None:  # else it was wanted back while it waited
                    yield block, event
            elif event is not None:
                yield worker.block or NOBODY, event

    def _lost(self, worker: _Worker) -> Iterator[Happening]:
        self._workers.remove(worker)
        reason, block = worker.link.ending(), worker.block
        worker.link.close(patiently=False)
        if block is not None:
            yield block, Lost(reason)
        elif not worker.leaves:
            yield from self._refused(worker, f"worker {worker.number} ({self._places[worker.number]}): {reason}")

    def _unequipped(self, worker: _Worker, event: Unequipped) -> Iterator[Happening]:
        """Let a worker go that cannot train what there is, after its block is given back."""
        self._workers.remove(worker)
        worker.link.close(patiently=False)
        yield worker.block or NOBODY, event
        hello = worker.hello
        where = f"{hello.host} ({hello.equipment})" if hello else self._places[worker.number]
        yield from self._refused(worker, f"worker {worker.number} on {where} has {event.reason}")

    def _refused(self, worker: _Worker, reason: str) -> Iterator[Happening]:
        self._give_up(worker.number, reason)
        yield NOBODY, Noted(f"{reason}; the sweep goes on with {len(self._places)}")

    def _welcome(self, worker: _Worker, hello: Hello) -> Iterator[Happening]:
        """Take a worker that has what this process has."""
        if differing := hello.other_versions(self._here):
            self._workers.remove(worker)
            worker.link.close(patiently=False)
            yield from self._refused(worker, f"worker {worker.number} on {hello.host} has {differing}")
            return
        worker.starts, worker.hello = False, hello
        yield from self._crowded(hello)
        yield from other_processor(hello, self._here, self._told)

    def _crowded(self, hello: Hello) -> Iterator[Happening]:
        """Say, once of each machine elsewhere, that it has fewer cores than workers: each of them keeps one busy."""
        there = [each.hello for each in self._workers if each.hello and each.hello.host == hello.host]
        cores = frozenset[int]().union(*(each.cores for each in there))
        if self._hosts.apart and len(there) > len(cores) and hello.host not in self._told:
            self._told.add(hello.host)
            yield (
                NOBODY,
                Noted(f"{hello.host} has {counted(len(cores), 'core')} for {len(there)} workers: they take turns"),
            )


class _Worker:
    """A worker process, and what it does."""

    def __init__(self, number: int, link: Link) -> None:
        self.number = number
        self.link = link
        self.starts = True
        """Whether it has not said yet that it is there: it may wait in a queue."""
        self.leaves = False
        """Whether it has said that it ends."""
        self.block: Block | None = None
        self.used = False
        """Whether it has had one."""
        self.hello: Hello | None = None
        """What it has said of itself."""

    @property
    def idle(self) -> bool:
        """Whether it waits for a block."""
        return not (self.starts or self.leaves) and self.block is None

    def begin(self, block: Block) -> None:
        self.block, self.used = block, True
        self.link.send(framed(block if self.link.shared else Parcel.of(block)))

    def receive(self) -> Event | Hello | Finished | Preempted | Brought | None:
        """What the worker says; None where that is not all there yet.

        Raises:
            EOFError: where it is gone.
            OSError: likewise.
        """
        found: Event | Hello | Finished | Preempted | Brought | None = self.link.receive()
        return found

    def ask(self, number: int) -> None:
        if self.block is not None:
            self.link.send(asked(number))
