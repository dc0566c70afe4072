"""The configurations of many jobs, each as Hydra composes it, in a hundredth of the time.

Hydra composes a configuration from files once for each distinct choice of groups; every job with these choices gets a
copy, on which its other overrides are applied by Hydra's own function, in Hydra's order. Whatever is more than that
(overrides of Hydra's own settings, anything that fails) goes through Hydra as a whole.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from shoal.config.compose import OF_SWEEPS
from shoal.config.hydra_config import chosen_options
from shoal.config.hydra_errors import translated
from shoal.config.multirun.job_overrides import Overrides, directory_name, is_plain

_HYDRAS_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError)
"""What composing raises of an override that is wrong."""


@dataclass(frozen=True)
class Composition:
    """The configuration of one job."""

    config: DictConfig
    """Without Hydra's part."""
    hydra: DictConfig
    """Hydra's part; it belongs to all jobs of the same choices, and shows the job that was composed last."""
    overrides: Sequence[str]
    fixed: Mapping[str, Any]
    """Nodes, as plain values, that all jobs of the same choices share: they hold no override and no interpolation."""

    @property
    def choices(self) -> dict[str, str]:
        """The chosen option of each of shoal's groups."""
        return chosen_options(self.hydra.runtime.choices)


_Found = tuple[DictConfig, DictConfig, Mapping[str, Any]]
"""A job's configuration without Hydra's part, with it, and the nodes that are `Composition.fixed`."""


@dataclass(frozen=True)
class _Template:
    task: DictConfig
    whole: DictConfig
    _pickled: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def fixed(self, overrides: Sequence[Override]) -> dict[str, Any]:
        """The nodes, as plain values, that these overrides do not touch and that refer to no other node."""
        touched = {each.key_or_group.partition(".")[0] for each in overrides}
        return {key: node for key, node in self._without_references.items() if key not in touched}

    @cached_property
    def _without_references(self) -> dict[str, Any]:
        # `???` counts as a reference: what is missing is told of each job, by the same way as everything else.
        nodes: Any = OmegaConf.to_container(self.task, enum_to_str=True)
        return {key: node for key, node in nodes.items() if not any(mark in repr(node) for mark in ("${", "???"))}

    def copied(self, shared: Iterable[str]) -> DictConfig:
        """A copy of `task` that has the `shared` nodes in common with it, in a tenth of the time of `deepcopy`."""
        # Copied by pickling: OmegaConf's deepcopy walks every node in Python, pickle does it in C. The shared nodes are
        # not in the pickle. Their names are, as persistent ids, which the reader looks up in the template itself. Jobs
        # whose overrides touch the same nodes leave out the same names, so a sweep pickles once and reads many times.
        names = tuple(shared)
        if names not in self._pickled:
            self._pickled[names] = self._without(names)
        copied: DictConfig = _Reader(self._pickled[names], self.task).load()
        return copied

    def _without(self, names: Iterable[str]) -> bytes:
        """`task`, pickled, with only the names of these nodes."""
        left_out = {id(self.task._get_node(name)): name for name in names}
        file = io.BytesIO()
        _Writer(file, left_out).dump(self.task)
        return file.getvalue()


class _Writer(pickle.Pickler):
    """Writes names in the place of some nodes, by identity: an equal node elsewhere in the tree is another one."""

    def __init__(self, file: io.BytesIO, left_out: Mapping[int, str]) -> None:
        super().__init__(file, protocol=5)
        self._left_out = left_out

    def persistent_id(self, obj: Any) -> str | None:
        """The name that stands for a node."""
        return self._left_out.get(id(obj))


class _Reader(pickle.Unpickler):
    """Takes nodes by their names from another configuration."""

    def __init__(self, content: bytes, shared: DictConfig) -> None:
        super().__init__(io.BytesIO(content))
        self._shared = shared

    def persistent_load(self, pid: Any) -> Any:
        """The node of a name."""
        return self._shared._get_node(pid)


class Composer:
    """Composes the jobs of one sweep."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._master = master
        self.overrides = Overrides(loader, master)
        self._templates: dict[tuple[str, ...], _Template] = {}

    def compose(self, overrides: Sequence[str], number: int = 0) -> Composition:
        """The configuration of job `number`, which has these overrides; `${hydra:...}` then reads this job's.

        Raises:
            ShoalError: where it cannot be composed.
        """
        try:
            parsed = [self.overrides.parsed(line) for line in overrides]
            found = self._quickly(parsed, overrides) if all(map(is_plain, parsed)) else None
        except _HYDRAS_ERRORS:  # `_slowly` fails too, and Hydra says why in its own words
            found = None
        task, whole, fixed = found or self._slowly(overrides)
        hydra = whole.hydra
        with read_write(hydra), open_dict(hydra):
            hydra.job.id = hydra.job.num = number
        HydraConfig.instance().cfg = whole  # type: ignore[assignment]
        return Composition(task, hydra, overrides, fixed)

    def _quickly(self, parsed: Sequence[Override], overrides: Sequence[str]) -> _Found:
        choices = [line for line, override in zip(overrides, parsed, strict=True) if self.overrides.is_choice(override)]
        template = self._template(tuple(choices))
        # Hydra takes the choices first, wherever they stand among the overrides.
        settings = [each for each in parsed if not self.overrides.is_choice(each)]
        fixed = template.fixed(settings)
        task = template.copied(fixed)
        ConfigLoaderImpl._apply_overrides_to_config(settings, task)
        # Shared by all jobs of these choices: a copy for each would cost as much as all the rest.
        hydra = template.whole.hydra
        with read_write(hydra), open_dict(hydra):
            hydra.overrides.task = list(overrides)
            hydra.job.override_dirname = directory_name(parsed, hydra)
        return task, template.whole, fixed

    def _template(self, choices: tuple[str, ...]) -> _Template:
        if choices not in self._templates:
            whole = self._loader.load_sweep_config(self._master, list(choices))
            self._templates[choices] = _Template(_without_hydra(whole), whole)
        return self._templates[choices]

    def _slowly(self, overrides: Sequence[str]) -> _Found:
        try:
            whole = self._loader.load_sweep_config(self._master, list(overrides))
        except Exception as error:
            raise translated(
                error, overrides, lambda wanted: self._loader.load_sweep_config(self._master, wanted)
            ) from error
        return _without_hydra(whole), whole, {}


def values(composition: Composition) -> dict[str, Any]:
    """The resolved configuration of a job: plain values, without the node that says how the sweep is run.

    Raises:
        ConfigError: where a value is missing or an interpolation leads nowhere.
    """
    config, fixed = composition.config, composition.fixed
    try:
        # Those without references are plain values already, once for all jobs.
        resolved = {key: fixed[key] if key in fixed else _resolved(config[key]) for key in map(str, config)}
    except Exception as error:
        raise translated(error, composition.overrides, lambda _: config) from error
    return {key: value for key, value in resolved.items() if key not in OF_SWEEPS}


def _resolved(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node


def unresolved(composition: Composition) -> dict[str, Any]:
    """The configuration of a job as it was written: plain values, references among them."""
    config, fixed = composition.config, composition.fixed
    return {key: fixed[key] if key in fixed else _unresolved(config._get_node(key)) for key in map(str, config)}


def _unresolved(node: Any) -> Any:
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


def _without_hydra(config: DictConfig) -> DictConfig:
    # Once for each distinct choice; the whole goes on being what `${hydra:...}` reads.
    task = copy.deepcopy(config)
    with flag_override(task, ["struct", "readonly"], [False, False]):
        del task["hydra"]
    return task
