"""What the overrides of a sweep's jobs are to Hydra: choices of options of groups, and settings of values."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from shoal.config.hydra_config import typed


class Overrides:
    """Parses each override once, and knows which of them choose options."""

    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        """`master` is the configuration of the sweep, which says where its files are searched for."""
        lines = typed(master.hydra, "hydra")
        # Hydra's own overrides are the same for all jobs: one repository, which remembers each file, serves them all.
        _, self._repository = loader._parse_overrides_and_create_caching_repo(master.hydra.job.config_name, lines)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._groups: dict[str, bool] = {}

    def parsed(self, line: str) -> Override:
        """An override, parsed once."""
        if line not in self._parsed:
            self._parsed[line] = self._parser.parse_overrides([line])[0]
        return self._parsed[line]

    def is_choice(self, override: Override) -> bool:
        """Whether an override chooses an option of a group; Hydra decides it in the same way."""
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = self._repository.group_exists(key)
        # A mapping in the place of a choice sets the node, although a group has this name.
        return self._groups[key] and not isinstance(override.value(), dict)


def is_plain(override: Override) -> bool:
    """Whether an override sets a value, or chooses an option, of something that is not Hydra's."""
    hydra = override.is_hydra_override() or override.key_or_group == "hydra"
    # A sweep within a job is an error, which Hydra words.
    return not (hydra or override.is_sweep_override())


def directory_name(overrides: Sequence[Override], hydra: DictConfig) -> str:
    """What `hydra.job.override_dirname` is for a job with these overrides."""
    names = hydra.job.config.override_dirname
    return get_overrides_dirname(
        overrides=list(overrides), kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
    )
