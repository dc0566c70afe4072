"""A number that notices whatever is done with it."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol, runtime_checkable


@runtime_checkable
class Noticing(Protocol):
    """Keeps whether the number was looked at."""

    read: bool


class LookedAtError(Exception):
    """A step that is traced looks at the number of its batch."""


class Looked:
    """The number of a batch in a step that is traced, which ends where the step looks at it.

    It is no int, but says that it is one: lists, tensors and NumPy take what is derived from int by its value, without
    asking. That it is one says nothing of which it is: who checks the types of arguments does not look at it.
    """

    def __init__(self, noticing: Noticing) -> None:
        self._noticing = noticing

    @property  # type: ignore[misc]
    def __class__(self) -> type[int]:  # type: ignore[override]
        return int


def _look(self: Looked, *_: Any) -> NoReturn:
    self._noticing.read = True
    raise LookedAtError


_LOOKS = """
    bool int index float complex hash repr str format neg pos abs invert trunc floor ceil round getattr
    eq ne lt le gt ge add sub mul floordiv truediv mod divmod pow lshift rshift and or xor
    radd rsub rmul rfloordiv rtruediv rmod rdivmod rpow rlshift rrshift rand ror rxor
"""
# Python looks for special methods in the class alone: no `__getattr__` would be asked for them.
for _name in _LOOKS.split():
    setattr(Looked, f"__{_name}__", _look)
