"""Why runs train alone, in a sentence: what is done that no stack can follow, and what to write instead."""

from __future__ import annotations

AS_BUFFER = "what it keeps from step to step can be a buffer of the module"
"""What to write where a step keeps something elsewhere."""
AFTERWARDS = "a hook of the epoch's end does so once for each run, in a stack too"
"""What to write where a step does something beside its loss."""
BY_ITSELF = "a loss that training_step returns is differentiated, and the optimizer steps, by itself"
"""What to write where a step takes its gradient, or steps its optimizer."""
OWN_NAME = "each value needs a name of its own"
"""What to write where one name stands for several values."""
SET_ANEW = "a buffer can be set anew, and weights can be written to by a hook of the epoch's end"
"""What to write where a parameter is replaced."""

AS_PART = "an attribute of the module is a part of it"
"""What to write where a metric is held elsewhere."""


def sentence(does: str, instead: str) -> str:
    """Why runs train alone, as it is told: what is done there, and what to write instead."""
    return f"{does}: {instead}"


class CannotStackError(Exception):
    """A step or a hook needs something that a stack cannot give it: what it `does`, and what to write `instead`."""

    within: str | None = None
    """The hook, where it is none of a step."""

    def __init__(self, does: str, instead: str) -> None:
        super().__init__(sentence(does, instead))
        self.does, self.instead = does, instead
