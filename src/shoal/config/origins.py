"""Where a setting's value came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from shoal.config.experiments import GROUP, SCHEME
from shoal.config.folders import own_conf
from shoal.config.slips import chosen_elsewhere
from shoal.errors import NO_SUCH_SETTING, ConfigError
from shoal.override_words import key_and_value

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Origins:
    """The overrides and the chosen files behind a configuration."""

    overrides: Iterable[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    files: Callable[[], Sequence[tuple[str, DictConfig]]] = tuple
    """Each file that was composed, by its name, with what it sets; a later one beats an earlier one."""
    otherwise: str | None = None
    """What to call the place of everything else, where that is known."""

    def of(self, key: str) -> str:
        """`command line`, or the file that set `key`."""
        key = key.partition("[")[0]  # the file that sets a list sets its items
        if any(_covers(override, key) for override in self.overrides):
            return COMMAND_LINE
        if self.otherwise:
            return self.otherwise
        # The last that sets it, as Hydra merges them in this order.
        setting = [name for name, content in reversed(self.files()) if _sets(content, key)]
        if setting:
            return setting[0]
        group = key.split(".")[0]
        # No file sets it: it is a default of the class that the choice names.
        if group in self.choices:
            return f"conf/{group}/{self.choices[group]}.yaml"
        return "conf/train.yaml"

    def way_out(self, error: ConfigError) -> str | None:
        """The hint with what to do about a setting of the file's, where another class was put into its node."""
        from shoal.build.hydra_keys import TARGET  # late: what only composes does not check

        if instead := chosen_elsewhere(error.key, error.value):
            return instead
        node = error.key.rpartition(".")[0]
        named = next((line for line in self.overrides if line.startswith(f"{node}.{TARGET}=")), None)
        if (
            named is None
            or error.problem != NO_SUCH_SETTING
            or any(_covers(line, error.key) for line in self.overrides)
        ):
            return None
        whole = f"replace the whole node: '~{node}' '+{node}={{{TARGET}:{named.partition('=')[2]}}}'"
        return f"{error.hint}\n  or {whole}" if error.hint else whole


def composed_files(hydra: Hydra, config_name: str, overrides: Iterable[str]) -> list[tuple[str, DictConfig]]:
    """The files that Hydra composes for these overrides, in the order in which it does."""
    loader: Any = hydra.config_loader
    chosen = loader.compute_defaults_list(config_name, list(overrides), RunMode.RUN)
    # Hydra's own steps: its public functions give the merged configuration alone.
    _, repository = loader._parse_overrides_and_create_caching_repo(config_name, list(overrides))
    found = []
    for default in chosen.defaults:
        loaded = loader._load_single_config(default, repository)
        if isinstance(loaded.config, DictConfig):
            found.append((_named(loaded.path, f"{default.config_path}.yaml"), loaded.config))
    return found


def _named(folder: str, path: str) -> str:
    """The path by which one opens a file from here; for a file that came with shoal, its place in shoal."""
    scheme, _, place = folder.rpartition("://")
    within = path.removeprefix(f"{GROUP}/") if scheme == SCHEME else path
    whole = Path(place) / within
    relative = os.path.relpath(whole)
    # Short where the file is below the working directory, as one's own are.
    if not relative.startswith(".."):
        return relative
    home = own_conf().parent
    return f"shoal's {whole.relative_to(home).as_posix()}" if whole.is_relative_to(home) else str(whole)


def _sets(content: DictConfig, key: str) -> bool:
    node: Any = OmegaConf.to_container(content, resolve=False)
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True


def _covers(override: str, key: str) -> bool:
    """Whether an override sets `key`, or a whole node that `key` is part of, or a part of what `key` is."""
    name, value = key_and_value(override)
    # Otherwise the override chooses a file, and the file set the key.
    whole = key.startswith(f"{name}.") and value.startswith(("{", "["))
    return key == name or whole or name.startswith(f"{key}.")


@contextmanager
def located(origins: Origins) -> Iterator[None]:
    """Say of every configuration error where its value came from."""
    try:
        yield
    except ConfigError as error:
        raise error.at(source=error.source or origins.of(error.key), hint=origins.way_out(error)) from error
