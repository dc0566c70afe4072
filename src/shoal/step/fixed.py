"""Values of tensors that follow from no input of a step, as of a mask made of a size: a trace may ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from shoal.step.outside import outside


class Fixed(TorchFunctionMode):
    """While a step is traced, such tensors are computed beside the trace, and their values told where it asks.

    What is asked of any other tensor, the trace refuses, as without this.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        """Each with its twin outside of the trace; both are kept, so that none takes another's place."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__iter__:  # whose items are in no tuple
            return iter(self.__torch_function__(Tensor.unbind, types, args))
        given = args, dict(kwargs or {})
        leaves = pytree.tree_leaves(given)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        of_form = _of_form(func, given[0], tensors)
        known = [id(each) in self._known for each in tensors if not any(each is form for form in of_form)]
        # A number of each run's own, or of the time, which stands for a tensor.
        known += [False for leaf in leaves if type(leaf) is not Tensor and _stands_for_one(leaf)]
        if not all(known):
            if any(known) and _may_write(func, given[1]):
                self._forget(given[1].get("out", given[0][0] if given[0] else None))
            return func(*given[0], **given[1])
        if func in _ANSWERS:
            return self._beside(func, given)
        found = func(*given[0], **given[1])
        # Also where nothing comes of it: it may write.
        twins = self._beside(func, given)
        for leaf, twin in zip(pytree.tree_leaves(found), pytree.tree_leaves(twins), strict=True):
            if isinstance(leaf, Tensor):
                self._known[id(leaf)] = leaf, twin
        return found

    def _forget(self, written: Any) -> None:
        """No more of what is written to, nor of what has a part of its memory, as the memory of the twins tells."""
        if not isinstance(written, Tensor):
            self._known.clear()
        elif id(written) in self._known:
            memory = self._known[id(written)][1].untyped_storage().data_ptr()
            self._known = {k: v for k, v in self._known.items() if v[1].untyped_storage().data_ptr() != memory}

    def _beside(self, func: Any, given: Any) -> Any:
        """What a function gives of the twins."""
        with outside():
            args, kwargs = pytree.tree_map(self._twin, given)
            return func(*args, **kwargs)

    def _twin(self, leaf: Any) -> Any:
        """What stands for a leaf outside of the trace: for a tensor of which only the form counts, an empty one."""
        if not isinstance(leaf, Tensor):
            return leaf
        known = self._known.get(id(leaf))
        return known[1] if known else torch.empty(leaf.shape, dtype=leaf.dtype, device=leaf.device)


def _stands_for_one(leaf: Any) -> bool:
    return hasattr(type(leaf), "__torch_function__") and not isinstance(leaf, Tensor)


def _of_form(func: Any, args: Sequence[Any], tensors: list[Tensor]) -> list[Tensor]:
    """Those of the tensors that a function is given whose numbers make no difference."""
    if func is torch.where and len(args) > 2 and args[1] is args[2]:
        return tensors[:1]  # as a tensor is made each run's own
    return tensors[1:] if func in _AS_ANOTHER else tensors if func in _LIKE_ANOTHER else []


def _may_write(func: Any, kwargs: Mapping[str, Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    in_place = name.endswith("_") and not name.endswith("__")
    return "out" in kwargs or in_place or name.startswith(("__i", "__set"))


_ANSWERS = frozenset({Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist})
_AS_ANOTHER = frozenset({Tensor.to, Tensor.type_as, Tensor.expand_as, Tensor.view_as, Tensor.reshape_as})
"""Functions of a tensor that make it like another."""
_LIKE_ANOTHER = frozenset(
    {
        torch.zeros_like,
        torch.ones_like,
        torch.full_like,
        Tensor.new_zeros,
        Tensor.new_ones,
        Tensor.new_full,
        Tensor.new_tensor,
    }
)
"""Those whose result is like a tensor in its form alone."""
