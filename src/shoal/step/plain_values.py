"""Values that batches hold beside tensors: names, flags, numbers, and whatever else has no tensors in it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.step.unlooked import Unlooked, text

_WRITTEN = (bool, int, float, complex, str, bytes, type(None))
"""Those that their own words tell apart."""
_PLAIN = (*_WRITTEN, numpy.ndarray, numpy.generic)


class PlainValue:
    """A value as a part of how a batch is put together: two batches that differ in one are of two forms."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlainValue) and _text(self.value) == _text(other.value)

    def __hash__(self) -> int:
        return hash(_text(self.value))

    def __repr__(self) -> str:
        return _text(self.value)

    def given(self) -> Any:
        """The value; what is done to it is done to a copy."""
        return copy.deepcopy(self.value)


def is_plain(node: Any) -> bool:
    """Whether all that these containers hold is known to have no tensors in it."""
    return all(isinstance(leaf, _PLAIN) or _is_plain_set(leaf) for leaf in pytree.tree_leaves(node))


def _is_plain_set(leaf: Any) -> bool:
    return isinstance(leaf, set | frozenset) and not any(isinstance(each, Tensor) for each in leaf)


def _text(value: Any) -> str:
    """What tells values apart that a step could make something else of: their types, and the order of names."""
    if type(value) is Unlooked:
        return text(value)
    if type(value) in _WRITTEN:
        return repr(value)
    if type(value) in (list, tuple):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    if type(value) is dict:
        return f"{{{', '.join(f'{_text(name)}: {_text(each)}' for name, each in value.items())}}}"
    return f"{type(value).__name__} {pickle.dumps(value).hex()}"


pytree.register_pytree_node(PlainValue, lambda value: ([], value), lambda _, value: value)
