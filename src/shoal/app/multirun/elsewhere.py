"""Where a sweep trains: the config group `workers`, checked before anything is composed."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from shoal.build.constructors import build
from shoal.config.hydra_config import WORKERS
from shoal.config.multirun.sweep_settings import SweepSettings
from shoal.config.origins import Origins, located
from shoal.errors import ConfigError
from shoal.sweeps.hosts import Hosts, Processes


def hosts_of(config: DictConfig, settings: SweepSettings) -> Hosts:
    """Where the worker processes of a sweep are; there are none where this process does the work.

    Raises:
        ConfigError: where a setting is not allowed, or two contradict each other.
    """
    chosen = config.get(WORKERS)
    node: Any = None if chosen is None else OmegaConf.to_container(chosen, resolve=True)
    if not node:
        return Processes(n=settings.workers)
    with located(Origins(list(config.hydra.overrides.task))):
        found: Hosts = build(node, WORKERS)
        if settings.processes is not None:
            problem = "is for worker processes of this machine: workers=local"
            raise ConfigError("sweep.processes", settings.processes, problem, hint="workers.n says how many others")
    return found
