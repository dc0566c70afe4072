"""A run that lies in its directory, as live objects again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from shoal.app.refusals import translated
from shoal.app.trust import refuse_strangers
from shoal.errors import NO_SUCH_SETTING, ConfigError, UsageError, shown, suggestion
from shoal.rundir import RunDir, RunInfo, read_config, read_info

FIXED = ("task", "model", "loss", "seed", "outputs")
"""What the state of a run depends on, so that it cannot be resumed with another."""

UNRELATED = ("outputs", "debug", "resume")
"""Settings that say nothing of a result."""


@dataclass(frozen=True)
class Stored:
    """A run directory, read."""

    run: RunDir
    info: RunInfo
    config: dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A setting that an override changes."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {shown(self.old)} -> {shown(self.new)}"


def stored(path: Path, *, trusted: Collection[str] = ()) -> Stored:
    """What a run directory says.

    Raises:
        UsageError: where it is none, or a check, or its configuration names code that is not trusted.
        DamagedError: where one of its files is not what was written.
    """
    run = RunDir(path)
    if not run.info.is_file():
        raise UsageError(f"{path} is not a run directory: there is no run.json", hint=_what_is_there(path))
    info = read_info(run.info)
    config = read_config(run.config)
    if config.get("check") is not None:
        raise UsageError(f"{path} is a check: there is no model in it", hint=f"what it measured: shoal show {path}")
    refuse_strangers(config, trusted)
    return Stored(run, info, config)


def changed(config: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[Change]]:
    """The configuration with overrides applied, and what they changed.

    Raises:
        ConfigError: where one cannot be read, or names a setting that is not there.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise translated(error, overrides, lambda _: OmegaConf.create(dict(config))) from error
    after = OmegaConf.create(dict(config))
    changes = [_applied(after, override) for override in parsed]
    values: Any = OmegaConf.to_container(after)
    return values, [change for change in changes if change.old != change.new]


def differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """The settings in which two configurations differ, but for those that say nothing of a result."""
    found = []
    for key in [*there, *(key for key in here if key not in there)]:
        old, new, name = there.get(key), here.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if old.get("_target_") != new.get("_target_"):  # the settings of another class are all different
                found.append(Change(name, old.get("_target_"), new.get("_target_")))
                continue
            found += differences(old, new, f"{name}.")
        elif old != new and name not in UNRELATED:
            found.append(Change(name, old, new))
    return found


def refuse_fixed(changes: Sequence[Change]) -> None:
    """Refuse changes that the state of a run cannot take.

    Raises:
        ConfigError: for the first of them; its hint names them all.
    """
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
    parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
    name = key.rpartition(".")[2]
    if not override.is_add() and (parent is None or name not in parent):
        known = [str(each) for each in parent] if parent is not None else [str(each) for each in config]
        raise ConfigError(key, new, NO_SUCH_SETTING, hint=suggestion(name, known), source="command line")
    node = OmegaConf.select(config, key)
    old = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node  # before it changes in place
    if OmegaConf.is_config(node) and isinstance(new, str):
        raise ConfigError(key, new, "a choice of a group cannot change in a run that has begun", source="command line")
    if override.is_delete():
        new = None
    OmegaConf.update(config, key, new, force_add=True)
    return Change(key, old, new)


def _what_is_there(path: Path) -> str:
    if not path.exists():
        return f"there is no {path}; the working directory is {Path.cwd()}"
    if path.is_file():
        return "that is a file; give the directory of the run"
    names = sorted(each.name for each in path.iterdir())[:5]
    return f"it holds {', '.join(names)}" if names else "it is empty"
