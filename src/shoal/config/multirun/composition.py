"""The configuration of one job, node by node: most nodes are those of other jobs as well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from shoal.config.compose import OF_SWEEPS
from shoal.config.hydra_config import chosen_options
from shoal.config.hydra_errors import translated


@dataclass(frozen=True, eq=False)
class Node:
    """What stands at the top of a configuration under one key."""

    key: str
    written: Any
    """Plain values, references among them."""
    value: Any
    """Plain values, resolved."""

    @cached_property
    def text(self) -> str:
        """The value as JSON, sorted, as no hash of it may depend on the order of keys in files."""
        return json.dumps(self.value, sort_keys=True, default=str)

    @cached_property
    def written_text(self) -> str:
        """What is written as JSON, in the order of the files."""
        return json.dumps(self.written, default=str)

    @cached_property
    def yaml(self) -> str:
        """What is written as `OmegaConf.to_yaml` would write it, its key before it."""
        return as_yaml({self.key: self.written})


@dataclass(frozen=True)
class Composition:
    """The configuration of one job."""

    config: DictConfig | None
    """Without Hydra's part; None where nothing has to be resolved any more."""
    hydra: DictConfig
    """Hydra's part; it belongs to all jobs of the same choices, and shows the job that was composed last."""
    overrides: Sequence[str]
    shared: Mapping[str, Node] = field(repr=False)
    """Nodes that other jobs have as well, or that were made of theirs; without a `config` all there are."""

    @property
    def choices(self) -> dict[str, str]:
        """The chosen option of each of shoal's groups."""
        return chosen_options(self.hydra.runtime.choices)

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes, in the order of the configuration.

        Raises:
            ConfigError: where a value is missing or an interpolation leads nowhere.
        """
        config, shared = self.config, self.shared
        if config is None:
            return shared
        try:
            return {key: shared[key] if key in shared else _node(config, key) for key in map(str, config)}
        except Exception as error:
            raise translated(error, self.overrides, lambda _: config) from error

    @property
    def of_job(self) -> dict[str, Node]:
        """The nodes without those that say how the sweep is run."""
        return {key: node for key, node in self.nodes.items() if key not in OF_SWEEPS}


def _node(config: DictConfig, key: str) -> Node:
    value = config[key]
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return Node(key, written(config._get_node(key)), value)


def written(node: Any) -> Any:
    """A node as it was written: plain values, references among them."""
    return OmegaConf.to_container(node, enum_to_str=True) if OmegaConf.is_config(node) else node._value()


def as_yaml(value: Any) -> str:
    """What `OmegaConf.to_yaml` would write of a plain value, by the emitter in C."""
    return str(yaml.dump(value, Dumper=_dumper(), default_flow_style=False, allow_unicode=True, sort_keys=False))


@cache
def _dumper() -> Any:
    """OmegaConf's way to write YAML, in C where PyYAML has that."""
    # OmegaConf offers the dumper only privately, and no way to have it use LibYAML's emitter.
    from omegaconf._utils import get_omega_conf_dumper

    class Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
        """OmegaConf's way to quote texts."""

        yaml_representers = get_omega_conf_dumper().yaml_representers

    return Dumper
