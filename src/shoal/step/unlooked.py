"""A value of a batch that is another in each batch, in the place of which a stack has something to be carried along."""

from __future__ import annotations

from typing import Any, NoReturn

from shoal.step.unfit import CannotStackError


class Unlooked:
    """Stands for a value of this class that no step of a stack may look at: the step ends where it does.

    It says that it is of that class: who looks for the tensors of a batch asks for no more.
    """

    def __init__(self, where: str, kind: type) -> None:
        self._where = where
        self._kind = kind

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self._kind

    def __getattr__(self, name: str) -> NoReturn:
        # What the class has not got says nothing of the value.
        if not hasattr(self._kind, name):
            raise AttributeError(name)
        _look(self)

    def __deepcopy__(self, memo: Any) -> Unlooked:
        return self


def text(value: Unlooked) -> str:
    """What two of them are compared by."""
    return f"<{value._where}: {value._kind.__qualname__}>"


def _look(self: Unlooked, *_: Any) -> NoReturn:
    raise CannotStackError(
        f"looks at {self._where}, which differs from batch to batch", "as a tensor of each batch it could"
    )


_LOOKS = """
    bool int index float complex bytes hash repr str format neg pos abs invert round len iter next reversed contains
    getitem setitem delitem call enter eq ne lt le gt ge add sub mul matmul floordiv truediv mod divmod pow
    lshift rshift and or xor radd rsub rmul rmatmul rfloordiv rtruediv rmod rpow rand ror rxor array fspath
"""
# Python looks for special methods in the class alone: no `__getattr__` would be asked for them.
for _name in _LOOKS.split():
    setattr(Unlooked, f"__{_name}__", _look)
