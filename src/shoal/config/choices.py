"""The groups of the configuration that is being composed, their choices, and what the files of these say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from shoal.config.experiments import GROUP as EXPERIMENT
from shoal.config.experiments import files as experiment_files

TARGET = "_target_"


def groups() -> list[str]:
    """The groups; none where Hydra composes nothing."""
    hydra = GlobalHydra.instance()
    found = hydra.config_loader().list_groups("") if hydra.is_initialized() else []
    return [group for group in found if group != "hydra"]


def choices(group: str) -> list[str]:
    """The choices of a group; none where there is no such group, or Hydra composes nothing."""
    hydra = GlobalHydra.instance()
    return list(hydra.config_loader().get_group_options(group, ObjectType.CONFIG)) if hydra.is_initialized() else []


def nodes_of(group: str, choice: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The nodes that the file of a choice itself sets in its group, by their keys; not those of files it extends."""
    # Unresolved: a file may refer to nodes that only the composed whole has.
    whole: Any = OmegaConf.to_container(_loaded(group, choice).config, resolve=False)
    content = whole.get(group, whole)  # of a file with the package _global_
    named = {f"{group}.{name}": each for name, each in content.items() if isinstance(each, dict) and TARGET in each}
    return list(named.items()) if named and TARGET not in content else [(group, content)]


def note(text: str) -> str:
    """The comment in the first lines of a YAML file, which says what the file is; empty where there is none."""
    for line in text.splitlines():
        if not line.startswith("# "):
            return ""
        # Both are for programs, and have to stand in the first lines.
        if "@package" not in line and "yaml-language-server" not in line:
            return line.removeprefix("# ")
    return ""


def note_of(group: str, choice: str) -> str:
    """What the file of a choice says that it is."""
    if group == EXPERIMENT:
        return note(experiment_files()[choice].read_text(encoding="utf-8"))
    file = Path(_loaded(group, choice).path.partition("://")[2]) / group / f"{choice}.yaml"
    return note(file.read_text(encoding="utf-8")) if file.is_file() else ""


def leaves(node: Any, key: str = "") -> Iterator[str]:
    """The keys of all settings below a node, Hydra's own aside; no `${...}` is followed."""
    for name in node if isinstance(node, Mapping) else ():
        if name in (TARGET, "defaults") or (not key and name == "hydra"):
            continue
        whole = f"{key}.{name}".lstrip(".")
        # `node[name]` would resolve it, and fail for a reference that leads nowhere.
        value = node._get_node(name) if isinstance(node, DictConfig) else node[name]
        if isinstance(value, Mapping):
            yield from leaves(value, whole)
        else:
            yield whole


def _loaded(group: str, choice: str) -> Any:
    loader: Any = GlobalHydra.instance().config_loader()
    return loader.repository.load_config(f"{group}/{choice}")
