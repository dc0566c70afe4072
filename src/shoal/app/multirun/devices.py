"""How many worker processes a sweep has whose jobs train on devices of their own: one for each."""

from __future__ import annotations

from dataclasses import replace

from shoal.engines.launching import n_devices, on_host
from shoal.sweeps.hosts import Hosts, Processes


def on_devices(hosts: Hosts, accelerators: set[str]) -> Hosts:
    """The hosts, with no more workers on this machine than it has devices of the kind that all jobs train on.

    The jobs, which ask for these accelerators, have been checked: there are such devices.
    """
    if not isinstance(hosts, Processes) or len(accelerators) != 1:
        return hosts
    [name] = accelerators
    # Two processes on one GPU slow each other down, and share its memory.
    return hosts if on_host(name) else replace(hosts, n=min(hosts.n, n_devices(name)))
