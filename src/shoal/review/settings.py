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
_DEEP = re.compile(rf"^[ \-?]{{{_INDENT}}}", re.MULTILINE)
_ENTRY = re.compile(r"\n(?=[^\s#\-])")
_KEY = r"(?!(?i:yes|no|on|off|true|false|null):)([A-Za-z_][\w.\-]*):"
_NUMBER = re.compile(_KEY + r" (-?(?:0|[1-9][0-9]*)(\.[0-9]+(?:e[-+][0-9]+)?)?)", re.ASCII)
_NESTED = re.compile(_KEY + r"\n(?=  [^\s#\-])", re.ASCII)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in `folder`, `{"optimizer.lr": 0.001, ...}`; another Hydra program's from .hydra.

    Raises:
        DamagedError: where there is no configuration, or it is no YAML mapping, or it could exhaust its reader.
    """
    path = own = f"{folder}/config.yaml"
    try:
        try:
            content = _content(own)
        except FileNotFoundError:
            path = f"{folder}/.hydra/config.yaml"
            content = _content(path)
        settings = parse_settings(content.decode())
    except FileNotFoundError:
        raise DamagedError(f"{own} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    if path == own:
        # The version of shoal's file is no setting.
        settings.pop("schema", None)
    return settings


def parse_settings(text: str) -> dict[str, Any]:
    """The settings in a YAML document, by dotted name.

    Raises:
        ValueError: where it is no mapping, or is larger, deeper or more folded than any configuration that was written.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST} bytes")
    # Before any parser sees it.
    if "\n" + " " * _INDENT in text:
        raise ValueError("it is nested too deeply")
    found = _in_parts(text)
    return dict(flattened(_parsed(text)) if found is None else found)


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf of nested mappings by its dotted name; a list is a leaf."""
    if isinstance(value, dict) and (value or not prefix):
        for key, item in value.items():
            yield from flattened(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        # One more than is allowed tells that there are more, without reading all of them.
        return file.read(LARGEST + 1)


def _in_parts(text: str) -> dict[str, Any] | None:
    """The settings, entry by entry; None where only the whole text has a meaning.

    Runs of one sweep share most of their entries: each distinct one is parsed once.
    """
    if not text.endswith("\n"):
        return None
    merged: dict[str, Any] = {}
    heads: list[str] = []
    try:
        for part in _ENTRY.split(text[:-1]):
            keys, settings = _entry(part)
            heads += keys
            merged.update(settings)
    except ValueError:  # a value that goes on at the margin of its key
        return None
    # A key that is there twice is YAML's to judge.
    return merged if len(set(heads)) == len(heads) else None


@lru_cache(maxsize=20_000)
def _entry(part: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The keys of an entry of a block, without its last line end; and its settings."""
    # Most entries: without a parser, as a list may be of ten thousand runs.
    number = _NUMBER.fullmatch(part)
    if number:
        key, digits, fraction = number.groups()
        return (key,), {key: float(digits) if fraction else int(digits)}
    nested = _NESTED.match(part)
    # Every line is indented: the block can be read as a text of its own.
    if nested and part.count("\n") == part.count("\n  "):
        key = nested[1]
        inner = _in_parts(part[nested.end() + 2 :].replace("\n  ", "\n") + "\n")
        if inner is not None:
            return (key,), {f"{key}.{name}": value for name, value in inner.items()}
    value = _parsed(part + "\n")
    return tuple(map(str, value)), dict(flattened(value))


def _parsed(text: str) -> dict[Any, Any]:
    import yaml

    # The C parser recurses without a limit (a long row of "[" ends the process), and aliases can name gigabytes.
    if text.count("[") + text.count("{") > _BRACKETS or _DEEP.search(text):
        raise ValueError("it is nested too deeply")
    try:
        if ("&" in text or "*" in text) and any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.CSafeLoader)
        ):
            raise ValueError("it has YAML aliases, which no resolved configuration has")
        value = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("it is not a mapping")
    return value
