"""Overrides of a run that has begun: what they change in its configuration, and which changes it can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from shoal.config.hydra_errors import translated
from shoal.config.slips import set_elsewhere
from shoal.errors import NO_SUCH_SETTING, ConfigError, shown, suggestion
from shoal.rundir.changes import Change

FIXED = ("task", "model", "loss", "seed", "outputs", "resume", "check", "numerics")
"""Settings on which a run's state depends: it cannot be resumed with another value."""


def changed(config: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[Change]]:
    """The configuration with overrides applied, and what they changed.

    Raises:
        ConfigError: where one cannot be read, or names a setting that is not there.
    """
    try:
        # Without Hydra's search path: a choice of a group means a file, and no file is read for a run that has begun.
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise translated(error, overrides, lambda _: OmegaConf.create(dict(config))) from error
    after = OmegaConf.create(dict(config))
    changes = [_applied(after, override) for override in parsed]
    values: Any = OmegaConf.to_container(after)
    return values, [change for change in changes if change.old != change.new]


def refuse_fixed(changes: Sequence[Change]) -> None:
    """Refuse changes that the state of a run cannot take.

    Raises:
        ConfigError: for the first of them; its hint names them all.
    """
    # Another class would have another state, of whatever node it is.
    refused = [change for change in changes if change.key.split(".")[0] in FIXED or change.key.endswith("_target_")]
    if refused:
        first = refused[0]
        raise ConfigError(
            first.key,
            first.new,
            "cannot change in a run that has begun: its state depends on it",
            hint="; ".join(str(change) for change in refused) + "; start a new run for that",
            source="command line",
        )


def _applied(config: Any, override: Override) -> Change:
    key, new = override.key_or_group, override.value()
    if override.is_sweep_override():
        raise ConfigError(key, override.value_str if hasattr(override, "value_str") else new, "a run cannot be swept")
    # Found here and not by `update`, which would make a new node of a misspelled name.
    parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
    name = key.rpartition(".")[2]
    if not override.is_add() and (parent is None or name not in parent):
        known = [str(each) for each in parent] if parent is not None else [str(each) for each in config]
        hint = set_elsewhere(key, shown(new), config) or suggestion(name, known)
        raise ConfigError(key, new, NO_SUCH_SETTING, hint=hint, source="command line")
    node = OmegaConf.select(config, key)
    old = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node  # before it changes in place
    if OmegaConf.is_config(node) and isinstance(new, str):
        raise ConfigError(key, new, "a choice of a group cannot change in a run that has begun", source="command line")
    if override.is_delete():
        new = None
    OmegaConf.update(config, key, new, force_add=True)
    return Change(key, old, new)
