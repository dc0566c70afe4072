"""How much of a computed number is rounding: it is computed again and again, each result moved as rounding may move it.

This is Monte Carlo arithmetic (Parker, 1997), which goes back to the CESTAC method (Vignes, 1974).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from shoal.gradcheck.views import ALIASES
from shoal.seeding import Stream, generator

_DRAWS = 8


def rounding(compute: Callable[[], Tensor]) -> Tensor:
    """By how much each element of what `compute` gives may be off, since its operations are rounded.

    Where terms cancel, that is far more than the digits of the result tell: of log(1+exp(-30)) three are right.
    """
    value, drawn = compute(), generator(0, Stream.USER)
    off = torch.zeros_like(value)
    # The largest of a few draws: it is compared with a tolerance ten times as wide (`three_ways`).
    for _ in range(_DRAWS):
        with _Moved(drawn):
            found = compute()
        # Beside the edge of a function's domain some have no value.
        off = torch.maximum(off, (found - value).abs().nan_to_num(nan=0.0, posinf=0.0))
    return off


class _Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Moves the result of each operation by up to one unit in the last place."""

    def __init__(self, drawn: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn = drawn

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # Without a floating point operand it makes numbers, as a constant, and rounds none.
        computed = any(map(_rounded, pytree.tree_leaves((args, kwargs))))
        # A view lies in its operand's memory: moving it would move the operand.
        if not computed or func.is_view or func.overloadpacket.__name__ in ALIASES:
            return result
        if func._schema.is_mutable:
            pytree.tree_map_only(Tensor, self._move_, result)
            return result
        return pytree.tree_map_only(Tensor, lambda each: self._move_(each.clone()), result)

    def _move_(self, found: Tensor) -> Tensor:
        if not _rounded(found):
            return found
        # In float64 whatever the tensor's dtype: of a share in float16 hardly a digit would be left.
        shares = torch.rand(found.shape, generator=self.drawn, dtype=torch.float64) * 2 - 1
        return found.mul_((1 + shares * torch.finfo(found.dtype).eps).to(found.dtype))


def _rounded(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
