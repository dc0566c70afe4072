"""Composing a configuration with Hydra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

from shoal.config import experiments
from shoal.config.hydra_config import WORKERS, chosen_options, read_from, typed
from shoal.config.hydra_errors import translated
from shoal.config.misread import naming_misread
from shoal.config.origins import COMMAND_LINE, Origins, composed_files
from shoal.config.plugins import importing_plugins, own_launcher
from shoal.config.search_path import check_search_path, search_path
from shoal.errors import ConfigError, ShoalError
from shoal.names import RUN_DIRECTORY
from shoal.override_words import key_of
from shoal.rundir.layout import job_name, new_id

PRIMARY = "train"
"""Name of the file that everything is composed from."""
SWEEP = "sweep"
"""The node that says how a sweep is run."""
OF_SWEEPS = (SWEEP, WORKERS)
"""The nodes that say how and where a sweep is run, and are no part of a job."""


# Cached, so that it is the same run wherever a configuration names it.
OmegaConf.register_new_resolver("run_id", new_id, use_cache=True, replace=True)
OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def of_sweep(override: str) -> bool:
    """Whether an override says how or where a sweep is run."""
    # By the name, without Hydra's parser: it is asked of words that cannot be parsed, too.
    return key_of(override).partition(".")[0] in OF_SWEEPS


@dataclass(frozen=True)
class Composed:
    """A composed configuration, Hydra's own part included, and the Hydra that composed it."""

    hydra: Hydra
    config: DictConfig
    overrides: list[str]
    name: str = PRIMARY
    """The file that everything was composed from."""

    @property
    def choices(self) -> dict[str, str]:
        """The chosen option of each of shoal's groups."""
        return chosen_options(self.config.hydra.runtime.choices)

    @property
    def origins(self) -> Origins:
        """Where the values came from."""
        # Read when an error asks for a place, and once: most configurations have none.
        files = cache(partial(composed_files, self.hydra, self.name, tuple(self.overrides)))
        return Origins(self.overrides, self.choices, files=files)

    def values(self) -> dict[str, Any]:
        """The resolved configuration, without Hydra's part and the sweep's: plain values.

        Raises:
            ConfigError: where a value is missing or an interpolation leads nowhere.
        """
        task = self.config.copy()
        with read_write(task), open_dict(task):
            # It has references of its own, which nothing but Hydra can resolve.
            del task["hydra"]
            for key in OF_SWEEPS:
                task.pop(key, None)
        try:
            resolved: Any = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)
        except Exception as error:
            raise self.located(translated(error, self.overrides, lambda _: self.config)) from error
        return dict(resolved)

    def place(self) -> None:
        """Let `${hydra:runtime.output_dir}` be the run directory, which Hydra says only once the run begins."""
        with read_write(self.config.hydra.runtime), open_dict(self.config.hydra.runtime):
            self.config.hydra.runtime.output_dir = str(self.directory().absolute())
        # `${hydra:...}` reads that object's copy, and not this configuration.
        HydraConfig.instance().set_config(self.config)

    def located(self, error: ShoalError) -> ShoalError:
        """The error; one about a setting also says where the setting came from."""
        if not isinstance(error, ConfigError) or error.source:
            return error
        return error.at(source=self.origins.of(error.key))

    def directory(self) -> Path:
        """The run directory that Hydra will use.

        Raises:
            ConfigError: where its name refers to something that is not there.
        """
        try:
            return Path(str(OmegaConf.select(self.config, "hydra.run.dir")))
        except Exception as error:
            raise self.located(translated(error, self.overrides, lambda _: self.config)) from error


@contextmanager
def composed(
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    config_name: str | None = None,
    mode: RunMode = RunMode.RUN,
) -> Iterator[Composed]:
    """The configuration that overrides ask for, of a run or a sweep; Hydra stays initialized while the block runs.

    Raises:
        ShoalError: where it cannot be composed: what is wrong, and the nearest that would be right.
    """
    # The caller may be a Hydra application itself, or have called hydra.initialize: it finds everything as it was.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    with importing_plugins(), naming_misread():
        experiments.install()
        # Not `hydra.compose`, which composes single runs only.
        hydra = Hydra.create_main_hydra2(task_name=PRIMARY, config_search_path=search_path(config_dir))
        # After the line above, which registers Hydra's own.
        OmegaConf.register_new_resolver("hydra", _of_hydra, replace=True)

    def compose(wanted: Sequence[str]) -> DictConfig:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "provider=.* is not available")  # `check_search_path` refuses it
            return hydra.compose_config(config_name or PRIMARY, list(wanted), mode, with_log_configuration=False)

    try:
        with naming_misread(), own_launcher():
            try:
                config = compose(overrides)
                _check_one_task(config)
                _check_verbose(config)
                _check_plugins(config)
            except Exception as error:
                raise translated(error, overrides, compose) from error
            found = Composed(hydra, config, list(overrides), config_name or PRIMARY)
            try:
                check_search_path(config)
            except ConfigError as error:
                raise found.located(error) from error
        with naming_misread(), own_launcher(), read_from(config):
            yield found
    finally:
        # Put back whatever happened: a caller's own Hydra application goes on afterwards.
        GlobalHydra.instance().hydra = outer


def _of_hydra(path: str) -> Any:
    """The value that `${hydra:...}` reads; for a run without a directory yet, as in a sweep, a word in its place."""
    found = OmegaConf.select(HydraConfig.get(), path)  # type: ignore[arg-type]
    if found is None and path == "runtime.output_dir":
        return RUN_DIRECTORY
    return found


def _check_verbose(config: DictConfig) -> None:
    """Refuse what Hydra only asserts."""
    given = config.hydra.verbose
    if not (
        isinstance(given, bool | str) or (isinstance(given, ListConfig) and all(isinstance(n, str) for n in given))
    ):
        raise ConfigError(
            "hydra.verbose", config.hydra.verbose, "must be true, false or names of loggers", source=COMMAND_LINE
        )


def _check_plugins(config: DictConfig) -> None:
    """Refuse a sweeper or a launcher that is no node, in which Hydra would look for a `_target_` all the same."""
    for name in ("sweeper", "launcher"):
        # By the node itself, whose `_target_` alone says what it is: its other settings may still be missing.
        node = config.hydra._get_node(name)
        if not isinstance(node, DictConfig) or "_target_" not in node:
            value = OmegaConf.to_container(node) if OmegaConf.is_config(node) else config.hydra[name]
            problem, hint = "must be a node with a _target_", f"one that is installed is chosen by hydra/{name}=NAME"
            raise ConfigError(f"hydra.{name}", value, problem, hint=hint, source=COMMAND_LINE)


def _check_one_task(config: DictConfig) -> None:
    """Refuse several tasks in one run."""
    if not isinstance(config.hydra.runtime.choices.get("task"), str):
        raise ConfigError(
            "task",
            next((line.partition("=")[2] for line in typed(config.hydra) if line.startswith("task=")), None),
            # A list is a valid choice to Hydra, which composes both files into one node.
            "a run has one task",
            hint="for each of several: -m task=parabola,sin_x2",
            source=COMMAND_LINE,
        )
