"""Blocks as tasks of a Ray cluster, which finds each a place, and adds machines for those that wait."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shoal.errors import ShoalError, UsageError, first_line
from shoal.rundir import Status
from shoal.sweeps import ray_entry
from shoal.sweeps.block import Block, RunEnded, Unequipped
from shoal.sweeps.carrying import Brought, Parcel
from shoal.sweeps.executor import (
    POLL_SECONDS,
    Executor,
    Happening,
    Lost,
    Take,
    Waiting,
    Watch,
    other_processor,
    watched,
)
from shoal.sweeps.hosts import Ray
from shoal.sweeps.links import Surroundings
from shoal.sweeps.serving import Finished, Hello, Preempted

_START = "start one with `ray start --head`; workers.address=null starts one here, for as long as this command runs"
_PATIENCE = 10.0
"""Seconds that a cluster has to answer."""
PACKAGE = Path(__file__).parents[1]
"""What is carried to where it is not installed."""

# Where a task begins, shoal may be found only by the path that the task brings along.
ray.cloudpickle.register_pickle_by_value(ray_entry)


@dataclass
class _Task:
    """A block that Ray has."""

    block: Block
    end: Any
    """Ray's reference to what comes of it."""
    saved: bool = False
    """Whether a signal that is not the launcher's has stopped a run of it."""


class RayTasks(Executor):
    """A task for each block. The letters of tasks lie on the launcher's node: no other one can take them along."""

    def __init__(self, hosts: Ray) -> None:
        """Connect to the cluster.

        Raises:
            UsageError: where there is none at the address.
        """
        self._hosts = hosts
        self._tasks: dict[int, _Task] = {}
        self._n = 0
        self._stopped = self._cancelled = self._killed = False
        self._told: set[str] = set()
        """Processors unlike the launcher's that were named."""
        surroundings = Surroundings.here(shared=hosts.shared)
        self._place = (surroundings.folder, list(surroundings.path) if hosts.shared else [])
        self._here = _compared(hosts)
        _connect(hosts, surroundings)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # It needs no core: it would take the place of a task.
        self._letters = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        needed = {"num_cpus": hosts.cpus, "num_gpus": hosts.gpus, "resources": dict(hosts.resources)}
        # A block that is lost is begun again from here, with another lease: not by Ray, behind our back.
        self._enter = ray.remote(max_retries=0, **needed)(ray_entry.enter)

    def run(self, take: Take, watch: Watch, waiting: Waiting) -> Iterator[Happening]:
        try:
            while self._fill(take):
                self._pass_on()
                yield from watched(self._happenings(), watch)
        finally:
            for task in self._tasks.values():
                ray.cancel(task.end, force=True)
            self._letters.shutdown(force=True)

    def stop(self, number: int) -> None:
        self._stopped = True

    def kill(self) -> None:
        self._stopped = self._killed = True

    def _fill(self, take: Take) -> bool:
        """Give Ray as many blocks as there may be at a time; whether there is anything to wait for."""
        while not self._stopped and len(self._tasks) < self._hosts.n and (block := take()) is not None:
            self._n += 1
            # As bytes: Ray makes objects of arguments before `enter` runs, which is what has shoal's modules found.
            given = ray.put(pickle.dumps(block if self._hosts.shared else Parcel.of(block)))
            self._tasks[self._n] = _Task(block, self._enter.remote(self._n, *self._place, given, self._letters))
        return bool(self._tasks)

    def _pass_on(self) -> None:
        """Cancel what trains, once, where that was asked for: in a task it is SIGINT.

        Not where the signal comes, which may be amid a call of Ray's.
        """
        if self._killed or (self._stopped and not self._cancelled):
            self._cancelled = True
            for task in self._tasks.values():
                ray.cancel(task.end, force=self._killed)

    def _happenings(self) -> Iterator[Happening]:
        letters = self._come(POLL_SECONDS)
        numbers = {task.end: number for number, task in self._tasks.items()}
        over, _ = ray.wait([*numbers], num_returns=len(numbers), timeout=0)
        if over:
            letters += self._come(0)  # what they posted before they ended
        for letter in letters:
            number, event = pickle.loads(letter)
            if task := self._tasks.get(number):
                yield from self._heard(number, task, event)
        for end in over:
            # Still there, so it has not said that it is through.
            if task := self._tasks.pop(numbers[end], None):
                yield task.block, Lost(_ending(end))

    def _heard(self, number: int, task: _Task, event: Any) -> Iterator[Happening]:
        if isinstance(event, Hello):
            yield from self._welcome(event)
        elif isinstance(event, Unequipped):
            hint = "ask for nodes that have one: workers.gpus=1, or workers.resources={...}"
            raise ShoalError(f"a node of the Ray cluster has {event.reason}", hint=hint)
        elif isinstance(event, Brought):
            event.put(task.block)
        elif isinstance(event, RunEnded) and event.info.status is Status.INTERRUPTED and not self._stopped:
            task.saved = True
        else:
            if isinstance(event, Finished):
                del self._tasks[number]
            yield (
                task.block,
                Preempted("its node is wanted back") if task.saved and isinstance(event, Finished) else event,
            )

    def _welcome(self, hello: Hello) -> Iterator[Happening]:
        """Refuse a task with other versions; say once of each kind of processor that it is another one.

        Raises:
            ShoalError: where the task has another version of what computes.
        """
        if differing := hello.other_versions(self._here):
            hint = "keep to nodes that have the same: workers.resources={...}"
            raise ShoalError(f"a node of the Ray cluster, {hello.host}, has {differing}", hint=hint)
        yield from other_processor(hello, self._here, self._told)

    def _come(self, seconds: float) -> list[bytes]:
        """The letters that have come; waits so long for the first one.

        Raises:
            ShoalError: where the cluster is gone.
        """
        try:
            first = [self._letters.get(timeout=seconds)] if seconds else []
            return [*first, *self._letters.get_nowait_batch(self._letters.size())]
        except Empty:
            return []
        except RayError as error:
            raise ShoalError(
                f"the Ray cluster is gone: {first_line(error)}", hint="the same command again goes on"
            ) from error


def _compared(hosts: Ray) -> Hello:
    """The introduction of this process, without the versions of packages that are carried to a task."""
    here = Hello.here()
    return here if hosts.shared else replace(here, versions={"torch": here.versions["torch"]})


def _connect(hosts: Ray, surroundings: Surroundings) -> None:
    """Be a driver of the cluster, unless this process is one already.

    Raises:
        UsageError: where there is none at the address.
    """
    if ray.is_initialized():
        return
    carried: dict[str, Any] = {} if hosts.shared else {"py_modules": [str(PACKAGE)]}
    environment = {"env_vars": dict(surroundings.environment), **carried}
    _refuse_silence(hosts.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of a cluster that is started here
    try:
        with _own_handler():
            ray.init(hosts.address, runtime_env=environment, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"workers.address={hosts.address}: {first_line(error)}", hint=_START) from error


def _refuse_silence(address: str | None) -> None:
    """Refuse a HOST:PORT where nobody answers: Ray itself waits for minutes.

    Raises:
        UsageError: what the system says of it.
    """
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal() or "/" in host:  # an address of another kind
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise UsageError(f"workers.address={address}: no cluster answers: {error}", hint=_START) from error


@contextmanager
def _own_handler() -> Iterator[None]:
    """Keep SIGTERM's handler, in whose place Ray puts its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _ending(end: Any) -> str:
    """What ended a task that did not say so itself."""
    try:
        ray.get(end)
    except RayError as error:
        return f"its task ended: {first_line(error)}"
    return "its task ended without a word"
