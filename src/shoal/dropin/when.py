"""When jobs train together, as the launcher's node says it."""

from __future__ import annotations

from enum import StrEnum


class Stacks(StrEnum):
    """The choices."""

    AUTO = "auto"
    """Where it pays."""
    ALWAYS = "always"
    NEVER = "never"
