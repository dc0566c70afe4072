"""The configurations of a sweep's jobs, each as Hydra composes it, but read from the program's files once for many.

Hydra composes a configuration for each distinct choice of groups; a job with these choices gets a copy, on which its
other overrides are applied by Hydra's own function, in Hydra's order. The first job of each choice is composed by Hydra
as a whole, and the copy is used where it gives the same for this one.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from shoal.config.multirun.job_overrides import Overrides, directory_name, is_plain


def compose_quickly(loader: ConfigLoader) -> None:
    """Have a program's loader give the same for the jobs of a sweep, sooner: whoever asks it, and as often as it is."""
    if type(loader) is ConfigLoaderImpl and "load_sweep_config" not in vars(loader):
        loader.load_sweep_config = JobComposer(loader).load_sweep_config  # type: ignore[method-assign]


@dataclass
class _Kind:
    """Jobs with the same choices."""

    overrides: list[str]
    """Those of the job that Hydra has composed as a whole."""
    whole: bytes
    """Its configuration."""
    template: bytes | None = None
    """The configuration with the choices alone; there is none before a second job asks for it."""


class JobComposer:
    """Composes the jobs of one sweep after the other."""

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._genuine = loader.load_sweep_config
        self._master: DictConfig | None = None

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """What Hydra's loader gives."""
        try:
            found = self._quickly(master_config, list(sweep_overrides))
        except Exception:  # of an override that is wrong: Hydra fails of it too, and says why in its own words
            found = None
        return self._genuine(master_config, sweep_overrides) if found is None else found

    def _quickly(self, master: DictConfig, lines: list[str]) -> DictConfig | None:
        if master is not self._master:
            self._master, self._overrides = master, Overrides(self._loader, master)
            self._kinds: dict[tuple[str, ...], _Kind | None] = {}
        parsed = [self._overrides.parsed(line) for line in lines]
        # What Hydra puts in from the environment may be another for each job.
        if not all(map(is_plain, parsed)) or master.hydra.job.env_copy:
            return None
        choices = [line for line, each in zip(lines, parsed, strict=True) if self._overrides.is_choice(each)]
        key = os.getcwd(), *choices
        if key not in self._kinds:
            whole = self._genuine(master, lines)
            self._kinds[key] = _kind(lines, whole)
            return whole
        kind = self._kinds[key]
        if kind is None:
            return None
        if lines == kind.overrides:
            return _with_cache(kind.whole, master)
        if kind.template is None:
            kind.template = pickle.dumps(self._genuine(master, choices))
            if not _same(self._applied(master, kind, kind.overrides), _with_cache(kind.whole, master)):
                self._kinds[key] = None
                return None
        return self._applied(master, kind, lines)

    def _applied(self, master: DictConfig, kind: _Kind, lines: Sequence[str]) -> DictConfig:
        assert kind.template is not None
        parsed = [self._overrides.parsed(line) for line in lines]
        config = _with_cache(kind.template, master)
        settings = [each for each in parsed if not self._overrides.is_choice(each)]
        ConfigLoaderImpl._apply_overrides_to_config(settings, config)
        task = config.hydra.overrides.task
        task.clear()
        task.extend(lines)
        config.hydra.job.override_dirname = directory_name(parsed, config.hydra)
        return config


def _kind(lines: list[str], whole: DictConfig) -> _Kind | None:
    """None for configurations that a copy by pickling would change, or that cannot be copied so."""
    try:
        content = pickle.dumps(whole)
        return _Kind(lines, content) if _same(pickle.loads(content), whole) else None
    except Exception:  # whatever a class of anybody's, in a node, does when it is pickled
        return None


def _with_cache(content: bytes, master: DictConfig) -> DictConfig:
    """A copy of a configuration, with what the sweep's own has resolved for all jobs."""
    config: DictConfig = pickle.loads(content)
    OmegaConf.copy_cache(from_config=master, to_config=config)
    return config


def _same(one: Any, other: Any) -> bool:
    """Whether two configurations are equal in every node, with what OmegaConf notes of it."""
    if not OmegaConf.is_config(one):
        return type(one) is type(other) and _noted(one) == _noted(other)
    mine: Any = one._content
    theirs: Any = other._content if OmegaConf.is_config(other) else None
    if type(one) is not type(other) or type(mine) is not type(theirs) or one._metadata != other._metadata:
        return False
    if isinstance(mine, dict):
        return list(mine) == list(theirs) and all(_same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(_same, mine, theirs))
    return bool(mine == theirs)


def _noted(node: Any) -> tuple[Any, ...]:
    value = node._value()
    return type(value), value, node._metadata
