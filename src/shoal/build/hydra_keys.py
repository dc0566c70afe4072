"""The keys of a node that Hydra reads itself: `_partial_`, `_args_`, `_recursive_`, `_convert_`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.errors import ConfigError

TARGET, PARTIAL, ARGS, CONVERT, RECURSIVE = "_target_", "_partial_", "_args_", "_convert_", "_recursive_"
OWN = (TARGET, PARTIAL, ARGS, CONVERT, RECURSIVE)
_CONVERSIONS = ("none", "partial", "object", "all")


@dataclass(frozen=True)
class Keys:
    """A node's keys of this kind; `_convert_` changes nothing, since values are plain lists and dictionaries anyway."""

    partial: bool
    """Whether the node stands for a function that is still to be given something, not for what that one gives."""
    args: Sequence[Any]
    """What is given by place."""
    recursive: bool
    """Whether the nodes within it are built; if not, they are given as they are."""

    @classmethod
    def of(cls, node: Mapping[str, Any], key: str) -> Keys:
        """Those of a node.

        Raises:
            ConfigError: where one has a value that it cannot have.
        """
        convert = node.get(CONVERT, "none")
        if convert not in _CONVERSIONS:
            raise ConfigError(f"{key}.{CONVERT}", convert, f"must be {', '.join(_CONVERSIONS[:-1])} or all")
        args = node.get(ARGS, [])
        if not isinstance(args, list):
            raise ConfigError(f"{key}.{ARGS}", args, "must be a list of what is given by place")
        return cls(_flag(node, key, PARTIAL, default=False), args, _flag(node, key, RECURSIVE, default=True))


def _flag(node: Mapping[str, Any], key: str, name: str, *, default: bool) -> bool:
    value = node.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{key}.{name}", value, "must be true or false")
    return value
