"""Where a setting's value came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sources:
    """The overrides and the chosen files behind a configuration."""

    overrides: Iterable[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    given: str = "command line"
    """What to call the place the overrides came from."""

    def of(self, key: str) -> str:
        """`command line`, or the file that set `key`."""
        if any(_covers(override, key) for override in self.overrides):
            return self.given
        group = key.split(".")[0]
        if group in self.choices:
            return f"conf/{group}/{self.choices[group]}.yaml"
        return "conf/train.yaml"


def _covers(override: str, key: str) -> bool:
    """Whether an override sets `key`, or a whole node that `key` is part of."""
    name, _, value = override.lstrip("+~").partition("=")
    return key == name or (key.startswith(f"{name}.") and value.startswith(("{", "[")))
