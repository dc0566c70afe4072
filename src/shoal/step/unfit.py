"""What a step or a hook does that no stack can follow."""

from __future__ import annotations

AS_BUFFER = "what it keeps from step to step can be a buffer of the module"
"""What to write where a step keeps something elsewhere."""


class CannotStackError(Exception):
    """A step or a hook needs something that a stack cannot give it."""

    within: str | None = None
    """The hook, where it is none of a step."""
