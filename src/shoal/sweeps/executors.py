"""Which executor trains where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from shoal.sweeps.executor import Executor, InProcess, Workers
from shoal.sweeps.hosts import Hosts, Linked, Ray, Remote

_kept: Workers | None = None
"""Those elsewhere that the next launch of the command goes on with."""


@contextmanager
def expected(hosts: Hosts, n: int, *, more: bool = False) -> Iterator[Executor | None]:
    """Get ready for up to `n` blocks, beside whatever this process does meanwhile.

    Workers elsewhere are begun, which wait in a queue and import torch for themselves: it gives what has them, and in
    the end lets them go; where `more` launches follow, as the batches of a study, only `let_go` does. None where they
    can only be begun with their blocks.

    Raises:
        UsageError: where what starts them is not installed.
    """
    hosts.expect()
    if not isinstance(hosts, Remote):
        yield None
        return
    global _kept
    workers, _kept = _kept or Workers(hosts), None
    workers.stays = more
    with ExitStack() as here:
        here.callback(workers.close)
        workers.expect(n)
        yield workers
        if more and not workers.ends:
            here.pop_all()
            _kept = workers


def let_go() -> None:
    """Let those workers go that were kept for a launch, at the end of the command."""
    global _kept
    kept, _kept = _kept, None
    if kept:
        kept.close()


def executor_of(hosts: Hosts) -> Executor:
    """What trains blocks there; this process does where there are no others.

    Raises:
        ShoalError: where what starts the others cannot be reached.
    """
    if isinstance(hosts, Ray):
        from shoal.sweeps.ray_executor import RayTasks  # late: Ray is an extra, and takes a second to import

        return RayTasks(hosts)
    return Workers(hosts) if isinstance(hosts, Linked) and hosts.places() else InProcess()
