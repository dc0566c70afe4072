"""`shoal schema`: JSON Schemas by which an editor completes and checks the YAML files of a configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from shoal.build import schema
from shoal.build.documented import comments
from shoal.build.hydra_keys import TARGET
from shoal.build.importing import importing
from shoal.config.compose import PRIMARY
from shoal.config.folders import own_conf, user_conf, user_experiments
from shoal.config.multirun.grids import GridSettings
from shoal.config.multirun.sweep_settings import SweepSettings
from shoal.config.shipped_schemas import DEFINITIONS, shipped
from shoal.errors import UsageError
from shoal.rundir.atomic import unwritable

GROUPS = ("task", "model", "optimizer", "scheduler", "loss", "trainer", "callbacks", "logger", "workers", "check")
ANYTHING = ("task", "check", "experiment", PRIMARY)
"""Kinds of files that may set more than one node."""
LINE = "# yaml-language-server: $schema="
"""The comment that tells an editor by which schema a file is checked."""


@dataclass(frozen=True)
class SchemaFiles:
    """What `shoal schema` did."""

    folder: Path
    n_files: int
    lines: tuple[Path, ...]
    """Files of the user's that got the comment."""


def write(folder: Path, *, lines: bool = False) -> SchemaFiles:
    """Write the schemas of all that can be configured here, the user's own classes included.

    With `lines`, YAML files of the user's that name no schema get the comment that does.

    Raises:
        UsageError: where a class that a file of the user's names cannot be imported.
        ShoalError: where the folder cannot be written.
    """
    meanings = {
        path: {name: each.get("description", "") for name, each in node.get("properties", {}).items()}
        for path, node in shipped().items()
    }
    folders = [own_conf(), *(each for each in (user_conf(),) if each)]
    with importing():
        found = documents(folders, meanings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in found.items():
            (folder / name).write_text(text, encoding="utf-8")
        changed = tuple(_own_lines(folder)) if lines else ()
    except OSError as error:
        raise unwritable(folder, error) from error
    return SchemaFiles(folder, len(found), changed)


def documents(folders: Sequence[Path], meanings: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The schemas by their file names: all definitions, and one for each kind of file that refers to them."""
    targets, named = _targets(folders)
    text = (own_conf() / f"{PRIMARY}.yaml").read_text(encoding="utf-8")
    hints = {**_hints(SweepSettings), **_hints(GridSettings)}
    del hints["halving"]  # None stands for a node without a factor
    sweep = schema.sweep_node(yaml.safe_load(text)["sweep"], hints, comments(text))
    try:
        known = schema.definitions(targets, named, meanings)
    except ValueError as error:
        raise UsageError(f"a class that conf/ names: {error}") from error
    known[PRIMARY] = schema.top(GROUPS, comments(text), sweep)
    found = {DEFINITIONS: {"$schema": schema.DRAFT, "definitions": known}}
    for kind in (*GROUPS, "experiment", PRIMARY):
        found[f"{kind}.json"] = {"$schema": schema.DRAFT, **_file(kind)}
    found["hydra.json"] = {"$schema": schema.DRAFT, "type": "object"}
    return {name: json.dumps(each, indent=1, ensure_ascii=False) + "\n" for name, each in found.items()}


def _file(kind: str) -> dict[str, Any]:
    everything = {"$ref": f"{DEFINITIONS}#/definitions/{PRIMARY}"}
    node = {"$ref": f"{DEFINITIONS}#/definitions/{kind}"}
    if kind in ("experiment", PRIMARY):
        return {"allOf": [everything]}
    if kind in ANYTHING:
        return {"if": {"required": [TARGET]}, "then": node, "else": everything}
    return {"allOf": [node]}


def _hints(form: type) -> dict[str, Any]:
    return get_type_hints(form, include_extras=True)


def _targets(folders: Sequence[Path]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The classes that the files of each group name, and the names that callbacks and loggers have there."""
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    named: dict[str, str] = {}
    for group in GROUPS:
        for node, name in (each for folder in folders for each in _nodes(folder, group)):
            path = str(node[TARGET])
            if path not in found[group]:
                found[group].append(path)
            if name:
                named.setdefault(name, path)
    return found, named


def _nodes(folder: Path, group: str) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    for file in sorted((folder / group).glob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            continue
        node = content if TARGET in content else content.get(group, content)
        if TARGET in node:
            yield node, None
        elif group in schema.NAMED:
            for name, each in node.items():
                if isinstance(each, dict) and TARGET in each:
                    yield each, str(name)


def given_lines(conf: Path, folder: Path, kind: str | None = None) -> Iterator[Path]:
    """Give the files below `conf` the comment that names their schema in `folder`; those that had none.

    Each is of the kind that its own folder is called, unless all are of one.
    """
    for file in sorted(conf.rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        named = folder / f"{kind or file.relative_to(conf).parts[0].removesuffix('.yaml')}.json"
        if LINE not in text and named.exists():
            relative = Path(os.path.relpath(named.resolve(), file.parent.resolve())).as_posix()
            file.write_text(_with_line(text, f"{LINE}{relative}\n"), encoding="utf-8")
            yield file


def _own_lines(folder: Path) -> Iterator[Path]:
    """Give the comment to all YAML files of the user's."""
    conf, experiments = user_conf(), user_experiments()
    if conf:
        yield from given_lines(conf, folder)
    if experiments:
        yield from given_lines(experiments, folder, "experiment")


def _with_line(text: str, line: str) -> str:
    """The text of a YAML file with a comment at its top, below the one by which Hydra finds its package."""
    first, end, rest = text.partition("\n")
    return f"{first}{end}{line}{rest}" if first.startswith("# @package") else f"{line}{text}"
