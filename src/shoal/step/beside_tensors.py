"""What stands for a number in a step that is traced or mapped, where it meets tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class BesideTensors:
    """Is given to torch's functions as what it is beside the tensors that they are given, too."""

    __slots__ = ()

    def beside(self, dtype: torch.dtype | None) -> Any:
        """What it is beside tensors that have this type in common; None where they have none."""
        raise NotImplementedError

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        given = args, kwargs or {}
        dtype = _common_type([leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)])
        args, kwargs = pytree.tree_map(lambda leaf: leaf.beside(dtype) if type(leaf) is cls else leaf, given)
        return func(*args, **kwargs)


def _common_type(tensors: Sequence[Tensor]) -> torch.dtype | None:
    """The type that tensors have which meet a number, and give to it; None where that is not clear."""
    types = {each.dtype for each in tensors if each.dtype is not torch.bool}
    floating = {each for each in types if each.is_floating_point}
    found = floating or types
    return next(iter(found)) if len(found) == 1 and not any(each.is_complex for each in types) else None
