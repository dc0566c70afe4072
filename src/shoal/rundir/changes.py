"""In what two configurations differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shoal.errors import shown
from shoal.names import IMMATERIAL


@dataclass(frozen=True)
class Change:
    """A setting that an override changes."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {shown(self.old)} -> {shown(self.new)}"


def differences(there: Mapping[Any, Any], here: Mapping[Any, Any], prefix: str = "") -> list[Change]:
    """The settings in which two configurations differ, but for those that say nothing of a result."""
    found = []
    for key in [*there, *(key for key in here if key not in there)]:
        old, new, name = there.get(key), here.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if old.get("_target_") != new.get("_target_"):  # the settings of another class are all different
                found.append(Change(name, old.get("_target_"), new.get("_target_")))
                continue
            found += differences(old, new, f"{name}.")
        elif old != new and name not in IMMATERIAL:
            found.append(Change(name, old, new))
    return found
