"""config.yaml: the resolved configuration of a run, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from shoal.errors import DamagedError, first_line
from shoal.rundir.atomic import write_text

SCHEMA = 1
"""Version of the configuration's form: its first key, `schema`, which stands in the file only."""
MAX_BYTES = 4_000_000
MAX_DEPTH = 50
MOST_TEXTS, LONGEST_TEXT = 1000, 10_000
"""Nodes whose text is remembered, and letters of such a text."""


# PyYAML has this one where it was built with libyaml, and writes with it in a fraction of the time.
class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes a value that stands in two places twice: what is read back has no references in it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_config(path: Path, config: Mapping[str, Any]) -> str:
    """Replace config.yaml; its text."""
    text = "".join(_written(key, node) for key, node in {"schema": SCHEMA, **config}.items())
    write_text(path, text)
    return text


_texts: dict[str, str] = {}
"""Nodes as they were written: the runs of a sweep have most of them in common."""


def _written(key: str, node: Any) -> str:
    """One node of the first level as YAML."""
    known = f"{key!r}: {node!r}"  # unlike JSON this tells 1 from "1" among keys, and a tuple from a list
    if known in _texts:
        return _texts[known]
    text: str = yaml.dump({key: node}, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if len(text) <= LONGEST_TEXT:  # a node may hold all samples of a task
        if len(_texts) >= MOST_TEXTS:
            _texts.clear()
        _texts[known] = text
    return text


def read_config(path: Path) -> dict[str, Any]:
    """What config.yaml says.

    Raises:
        DamagedError: where it cannot be read, or is nothing that `write_config` would write.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
        _refuse_bombs(text)
        config = yaml.load(text, yaml.CSafeLoader)
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DamagedError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise DamagedError(f"{path} is damaged: it is not a mapping")
    schema = config.pop("schema", None)
    if schema != SCHEMA:
        raise DamagedError(f"{path} has the schema {schema}, which this version of shoal does not read")
    return config


def _refuse_bombs(text: str) -> None:
    """Refuse what is small in the file and has no end in memory.

    Raises:
        ValueError: where a value refers to another, or values are nested too deeply.
    """
    depth = 0
    # Events come before any value is made: what would have no end in memory is found without making it.
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has a value that refers to another")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"its values are nested more than {MAX_DEPTH} deep")
