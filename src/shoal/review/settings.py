"""The settings in a config.yaml, by dotted name, read without OmegaConf and without trusting the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from shoal.errors import DamagedError

LARGEST = 1_000_000
"""Bytes of a config.yaml; a resolved configuration has a few thousand."""
_BRACKETS = 2000
_INDENT = 200
_ENTRY = re.compile(r"^(?=[^\s#\-])", re.MULTILINE)
_MAPPING = re.compile(r"([A-Za-z_][\w.\-]*):\n((?:  .*\n?)+)\Z")
_DEEP = re.compile(rf"^[ \-?]{{{_INDENT}}}", re.MULTILINE)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in `folder`, `{"optimizer.lr": 0.001, ...}`; of another Hydra program, those in .hydra.

    Raises:
        DamagedError: where there is no configuration, or it is no YAML mapping, or it could exhaust its reader.
    """
    own = folder / "config.yaml"
    path = own if own.exists() else folder / ".hydra" / "config.yaml"
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        settings = dict(flattened(parse_config(content.decode())))
    except FileNotFoundError:
        raise DamagedError(f"{own} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    if path == own:
        settings.pop("schema", None)
    return settings


def parse_config(text: str) -> dict[str, Any]:
    """The mapping in a YAML document.

    Raises:
        ValueError: where it is none, or is larger, deeper or more folded than any configuration that was written.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST} bytes")
    # The C parser recurses without a limit (a long row of "[" ends the process), and aliases can name gigabytes.
    if text.count("[") + text.count("{") > _BRACKETS or _DEEP.search(text):
        raise ValueError("it is nested too deeply")
    if ("&" in text or "*" in text) and _aliased(text):
        raise ValueError("it has YAML aliases, which no resolved configuration has")
    value = _block(text)
    if not isinstance(value, dict):
        raise ValueError("it is not a mapping")
    return value


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf of nested mappings by its dotted name; a list is a leaf."""
    if isinstance(value, dict) and (value or not prefix):
        for key, item in value.items():
            yield from flattened(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _block(text: str) -> Any:
    """The value of a YAML text. Runs of one sweep share most of their lines: each distinct block is parsed once."""
    parts = _ENTRY.split(text) if "\n" in text.rstrip("\n") else [text]
    parts = [part for part in parts if part.strip()]
    if len(parts) < 2:
        return _parsed(text)
    merged: dict[str, Any] = {}
    try:
        for part in parts:
            nested = _MAPPING.match(part)
            value = {nested[1]: _nested(nested[2])} if nested else _parsed(part)
            if not isinstance(value, dict):
                return _parsed(text)
            merged.update(value)
    except ValueError:  # a value that goes on at the margin of its key: only the whole has a meaning
        return _parsed(text)
    return merged


@lru_cache(maxsize=10_000)
def _nested(text: str) -> Any:
    return _block(re.sub(r"^  ", "", text, flags=re.MULTILINE))


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _aliased(text: str) -> bool:
    import yaml

    try:
        return any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
