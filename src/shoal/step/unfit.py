"""What a step or a hook does that no stack can follow."""

from __future__ import annotations


class CannotStackError(Exception):
    """A step or a hook needs something that a stack cannot give it."""

    within: str | None = None
    """The hook, where it is none of a step."""
