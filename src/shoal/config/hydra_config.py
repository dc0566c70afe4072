"""Hydra's own part of a configuration: what `${hydra:...}` reads, and which options were chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

WORKERS = "workers"
"""The group, and its node, that says where a sweep is run."""


@contextmanager
def read_from(config: DictConfig) -> Iterator[DictConfig]:
    """Let `${hydra:...}` read this configuration, and afterwards what it read before."""
    with unread():
        HydraConfig.instance().set_config(config)
        yield config


@contextmanager
def unread() -> Iterator[None]:
    """Let there be no configuration that `${hydra:...}` reads, and afterwards the one that was there before."""
    # Its attribute: `HydraConfig.get` refuses to say that there is none.
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = None
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def typed(hydra: Any, kind: str = "task") -> list[str]:
    """The overrides that a configuration was composed by, of the task or of Hydra's own (`hydra`), as they were typed.

    Whoever reads the list itself is given what their `${...}` refer to, or an error where that is nothing.
    """
    words: Any = OmegaConf.to_container(hydra.overrides[kind], resolve=False)
    return [str(word) for word in words]


def chosen_options(choices: Mapping[str, Any]) -> dict[str, str]:
    """The option that a job chose of each of shoal's groups, from Hydra's `runtime.choices`.

    Hydra's own groups have a slash, and where a sweep trains is no choice of its jobs.
    """
    return {
        group: name for group, name in choices.items() if "/" not in group and group != WORKERS and name is not None
    }
