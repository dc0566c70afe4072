"""Values of tensors that follow from no input of a step, as of a mask made of a size: a trace may ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes


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
        given = args, dict(kwargs or {})
        tensors = [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]
        known = [id(each) in self._known for each in tensors]
        if not all(known):
            if any(known) and _may_write(func, given[1]):
                # Which of the others are views of what is written to, is not known.
                self._known.clear()
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

    def _beside(self, func: Any, given: Any) -> Any:
        """What a function gives of the twins."""
        args, kwargs = pytree.tree_map(
            lambda leaf: self._known[id(leaf)][1] if isinstance(leaf, Tensor) else leaf, given
        )
        with _outside():
            return func(*args, **kwargs)


@contextmanager
def _outside() -> Iterator[None]:
    """Outside of the mapping and the trace."""
    with (
        temporarily_clear_interpreter_stack(),
        _disable_current_modes(),
        torch._C.DisableTorchFunction(),
        torch.no_grad(),
    ):
        yield


def _may_write(func: Any, kwargs: Mapping[str, Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    in_place = name.endswith("_") and not name.endswith("__")
    return "out" in kwargs or in_place or name.startswith(("__i", "__set"))


_ANSWERS = frozenset({Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist})
