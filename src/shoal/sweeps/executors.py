"""Which executor trains where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shoal.sweeps.executor import Executor, InProcess, Workers
from shoal.sweeps.hosts import Hosts, Linked, Ray, Remote


@contextmanager
def expected(hosts: Hosts, n: int) -> Iterator[Executor | None]:
    """Get ready for up to `n` blocks, beside whatever this process does meanwhile.

    Workers elsewhere are begun, which wait in a queue and import torch for themselves: it gives what has them, and in
    the end lets them go. None where they can only be begun with their blocks.

    Raises:
        UsageError: where what starts them is not installed.
    """
    hosts.expect()
    if not isinstance(hosts, Remote):
        yield None
        return
    workers = Workers(hosts)
    try:
        workers.expect(n)
        yield workers
    finally:
        workers.close()


def executor_of(hosts: Hosts) -> Executor:
    """What trains blocks there; this process does where there are no others.

    Raises:
        ShoalError: where what starts the others cannot be reached.
    """
    if isinstance(hosts, Ray):
        from shoal.sweeps.ray_executor import RayTasks  # late: Ray is an extra, and takes a second to import

        return RayTasks(hosts)
    return Workers(hosts) if isinstance(hosts, Linked) and hosts.places() else InProcess()
