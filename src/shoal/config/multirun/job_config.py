"""A job of a sweep as plain values: small enough that ten thousand of them fit anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from shoal.config.multirun.composition import Composition, as_yaml
from shoal.config.multirun.compositions import Composer
from shoal.names import IMMATERIAL

OWN = ("overrides", "job", "runtime")
"""Nodes of Hydra's settings that differ from job to job."""


@dataclass(frozen=True)
class Hydra:
    """Hydra's own settings, which all jobs of the same choices share."""

    config: DictConfig
    """Where they were read, kept so that no other object gets its id."""
    values: Mapping[str, Any]
    choices: Mapping[str, str]

    @cached_property
    def common(self) -> str:
        """The part of Hydra's file that is the same for every job, as YAML."""
        return as_yaml({"hydra": {key: value for key, value in self.values.items() if key not in OWN}})

    def of_job(self, number: int, overrides: Sequence[str], dirname: str, path: Path) -> str:
        """The rest of the file of one job, as YAML; its directory is `path`."""
        parts: dict[str, dict[str, Any]] = {
            "overrides": {"task": list(overrides)},
            "job": {"id": number, "num": number, "override_dirname": dirname},
            "runtime": {"output_dir": str(path.absolute())},
        }
        # By hand, without the first line, which the common part has: Hydra's way resolves everything for each job.
        return "".join(f"  {key}:\n{''.join(self._items(key, part).values())}" for key, part in parts.items())

    def _items(self, key: str, own: Mapping[str, Any]) -> dict[str, str]:
        """What stands in a node of that file, each as YAML: what is the job's own, and what all jobs have there."""
        return self._shared[key] | {name: _indented(key, name, value) for name, value in own.items()}

    @cached_property
    def _shared(self) -> dict[str, dict[str, str]]:
        return {key: {n: _indented(key, n, value) for n, value in self.values[key].items()} for key in OWN}


def _indented(key: str, name: str, value: Any) -> str:
    """A setting of Hydra's as YAML, where it stands in the file."""
    return as_yaml({"hydra": {key: {name: value}}}).removeprefix(f"hydra:\n  {key}:\n")


@dataclass(frozen=True)
class JobConfig:
    """What a job is, without its place in the sweep."""

    overrides: Sequence[str]
    values: Mapping[str, Any] = field(repr=False)
    """The resolved configuration; nodes that jobs have in common are the same objects."""
    hash: str
    """SHA-256 of the configuration."""
    choices: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Any]
    """The value of each override, by its key."""
    config_yaml: str = field(repr=False)
    """The configuration as Hydra writes it, before anything is resolved."""
    hydra: Hydra = field(repr=False)
    override_dirname: str = ""

    def write_hydra(self, path: Path, number: int) -> None:
        """Write the files that Hydra itself writes below the run directory `path`."""
        subdir = self.hydra.values["output_subdir"]
        if subdir is None:
            return
        folder = path / subdir
        folder.mkdir(parents=True, exist_ok=True)
        own = self.hydra.of_job(number, self.overrides, self.override_dirname, path)
        (folder / "config.yaml").write_text(self.config_yaml, encoding="utf-8")
        (folder / "hydra.yaml").write_text(self.hydra.common + own, encoding="utf-8")
        (folder / "overrides.yaml").write_text(as_yaml(list(self.overrides)), encoding="utf-8")


def job_config(composer: Composer, overrides: Sequence[str], number: int, known: dict[str, Any]) -> JobConfig:
    """The job with these overrides; `known` remembers nodes from one job to the next.

    Raises:
        ShoalError: where it cannot be composed or resolved.
    """
    composition = composer.compose(overrides, number)
    texts = {key: node.text for key, node in composition.of_job.items()}
    hashed = "\n".join(f"{key}={text}" for key, text in sorted(texts.items()) if key not in IMMATERIAL)
    # Read back, so that nodes that are equal in many jobs are one object, of plain values.
    known |= {text: json.loads(text) for text in texts.values() if text not in known}
    resolved = {key: known[text] for key, text in texts.items()}
    # By identity: all jobs of the same choices share the object, which `Hydra.config` keeps alive.
    name = f"hydra:{id(composition.hydra)}"
    if name not in known:
        plain: Any = OmegaConf.to_container(composition.hydra, enum_to_str=True)
        known[name] = Hydra(composition.hydra, plain, composition.choices)
    return JobConfig(
        overrides=tuple(overrides),
        values=resolved,
        hash=hashlib.sha256(hashed.encode()).hexdigest(),
        choices=known[name].choices,
        # Resolved, so that `seed=${task.seed}` shows a number.
        settings={each.key_or_group: _value(each, resolved) for each in map(composer.overrides.parsed, overrides)},
        config_yaml=config_yaml(composition, known),
        hydra=known[name],
        override_dirname=str(composition.hydra.job.override_dirname),
    )


def differing(jobs: Sequence[JobConfig]) -> list[str]:
    """The settings that the jobs' overrides set differently, in their order."""
    seen: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in job.settings.items():
            seen.setdefault(key, set()).add(_of_itself(key, value, job.settings))
    # What only some jobs set differs, whatever the others have by default.
    everywhere = {key for key in seen if all(key in job.settings for job in jobs)}
    return [key for key, found in seen.items() if len(found) > 1 or key not in everywhere]


def _of_itself(key: str, value: Any, settings: Mapping[str, Any]) -> str:
    """What a setting is given, without those parts of a node that are settings of their own."""
    if not isinstance(value, Mapping):
        return str(value)
    # `model={...}` beside `model.dropout=0.1,0.2`: the parts are compared by themselves.
    parts = [name for name in settings if name.startswith(f"{key}.")]
    paths = flat(value, f"{key}.").items()
    return str({path: each for path, each in paths if not any(f"{path}.".startswith(f"{name}.") for name in parts)})


def differs(job: JobConfig, keys: Sequence[str]) -> dict[str, Any]:
    """The job's values of these settings; for a group the choice, which may also come with the task."""
    found = {key: job.settings[key] if key in job.settings else looked_up(job.values, key) for key in keys}
    return {key: job.choices.get(key, value) if isinstance(value, Mapping) else value for key, value in found.items()}


def looked_up(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted path; None where there is nothing."""
    found: Any = config
    for word in key.split("."):
        found = found.get(word) if isinstance(found, Mapping) else None
    return found


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings by their dotted paths."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _value(override: Override, resolved: Mapping[str, Any]) -> Any:
    """What an override sets: the choice of a group, or the resolved value of a setting."""
    found = looked_up(resolved, override.key_or_group)
    given: Any = override.value()
    # A choice is known by its name; the node that it brings would say the same at length.
    return given if isinstance(found, Mapping) and isinstance(given, str) else found


def config_yaml(composition: Composition, known: dict[str, Any]) -> str:
    """The configuration as YAML, node by node: most nodes have been written for another job before."""
    parts = []
    for node in composition.nodes.values():
        name = f"yaml:{node.key}={node.written_text}"
        if name not in known:
            known[name] = node.yaml
        parts.append(known[name])
    return "".join(parts)
