"""Which executor trains where."""

from __future__ import annotations

from shoal.sweeps.executor import Executor, InProcess, Workers
from shoal.sweeps.hosts import Hosts, Linked, Ray


def executor_of(hosts: Hosts) -> Executor:
    """What trains blocks there; this process does where there are no others.

    Raises:
        ShoalError: where what starts the others cannot be reached.
    """
    if isinstance(hosts, Ray):
        from shoal.sweeps.ray_executor import RayTasks  # late: Ray is an extra, and takes a second to import

        return RayTasks(hosts)
    return Workers(hosts) if isinstance(hosts, Linked) and hosts.places() else InProcess()
