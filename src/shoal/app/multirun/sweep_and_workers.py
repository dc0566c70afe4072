"""How and where a sweep trains: its nodes `sweep` and `workers`, checked before anything is composed or written."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shoal import machine
from shoal.build.constructors import build
from shoal.config.hydra_config import WORKERS, typed
from shoal.config.multirun.sweep_settings import SweepSettings, settings_of
from shoal.config.origins import Origins, located
from shoal.errors import ConfigError
from shoal.sweeps.hosts import Hosts, Processes


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what terms the jobs of a sweep are trained, whatever they are."""

    settings: SweepSettings
    hosts: Hosts
    """Where its worker processes are; there are none where this process does the work."""


def terms_of(config: DictConfig) -> Terms:
    """The terms that a configuration sets.

    Raises:
        ConfigError: where a setting is not allowed, or two contradict each other.
    """
    settings = settings_of(config)
    return Terms(settings=settings, hosts=_hosts(config, settings))


def checked_for(config: DictConfig) -> AbstractContextManager[None]:
    """Within this, jobs are checked as far as this machine can, where their workers are on others."""
    return machine.only_checked() if config.get(WORKERS) else nullcontext()


def _hosts(config: DictConfig, settings: SweepSettings) -> Hosts:
    chosen = config.get(WORKERS)
    node: Any = None if chosen is None else OmegaConf.to_container(chosen, resolve=True)
    # `workers=local` is an empty node.
    if not node:
        return Processes(n=settings.workers)
    choices = {group: choice for group, choice in config.hydra.runtime.choices.items() if choice}
    with located(Origins(typed(config.hydra), choices)):
        found: Hosts = build(node, WORKERS)
        if settings.processes is not None:
            problem = "is for worker processes of this machine: workers=local"
            raise ConfigError("sweep.processes", settings.processes, problem, hint="workers.n says how many others")
    return found
