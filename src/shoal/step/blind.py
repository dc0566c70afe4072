"""Kernels whose result for a run does not depend on the stack.

A pointwise kernel takes whole vectors of elements, and what is left over at the end one by one, with other instructions
and at times another last bit. Which elements are left over depends on the size of the stack. Sums, products, quotients
and comparisons are exactly rounded either way; everything else is given a whole number of vectors here. So is what
chooses one of two numbers: of 0 and -0, which are equal, the last elements may take the other (pytorch issue 193781).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

VECTORS = 32
"""Elements that every kernel's step through memory divides."""

_EXACT = """
    add sub mul div neg abs sign sqrt reciprocal round floor ceil threshold_backward where masked_fill
    eq ne lt le gt ge isfinite isnan clone copy _to_copy fill ones_like zeros_like full_like
    logical_and logical_or logical_not bitwise_and bitwise_or bitwise_xor bitwise_not
    bitwise_left_shift bitwise_right_shift __lshift__ __rshift__
"""
_UNTAGGED = """
    softplus_backward elu_backward mish_backward hardswish_backward log_sigmoid_backward
    huber_loss huber_loss_backward smooth_l1_loss smooth_l1_loss_backward
"""
EXACT = {getattr(aten, name) for name in _EXACT.split()}
"""Operations that round exactly, or not at all."""
UNTAGGED = {getattr(aten, name) for name in _UNTAGGED.split()}
"""Pointwise operations that torch does not mark as such; the losses only where they are not reduced."""


def depends_on_place(target: Any) -> bool:
    """Whether an operation is pointwise and its last bit may depend on where in memory an element stands."""
    # What writes over its input could not be given a copy of it.
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        return False
    pointwise = torch.Tag.pointwise in target.tags or target.overloadpacket in UNTAGGED
    return pointwise and target.overloadpacket not in EXACT


def in_whole_vectors(operation: Callable[..., Tensor], strides: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    """A pointwise operation on copies of its inputs that fill whole vectors.

    Its result lies in memory by the `strides` that it has otherwise: what follows was traced with them.
    """
    shape = _broadcast(args)
    n = shape.numel()
    size = -(-n // VECTORS) * VECTORS

    def filled(arg: Any) -> Any:
        # A tensor without dimensions spreads by itself; with one, it would count when torch finds the result's type.
        if not isinstance(arg, Tensor) or arg.dim() == 0:
            return arg
        whole = arg.new_zeros(size)
        whole[:n].view(shape).copy_(arg)
        return whole

    result = operation(*map(filled, args), **kwargs)[:n].view(shape)
    if all(a == b for a, b, size in zip(result.stride(), strides, shape, strict=True) if size > 1):
        return result
    return result.new_empty_strided(shape, strides).copy_(result)


def blind(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation of torch's, in whole vectors where its last bits would depend on where an element stands."""
    # Done in any case: where it is done again in whole vectors, this one tells the shape and the strides.
    result = operation(*args, **kwargs)
    if depends_on_place(operation) and is_elementwise(result, args) and not fills_vectors(result, args):
        return in_whole_vectors(operation, result.stride(), *args, **kwargs)
    return result


def is_elementwise(result: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation gave an element for each of its inputs' and reduced nothing.

    Not of whole numbers and flags: they are exact wherever they stand, and by the zeros that fill a vector they could
    not be divided.
    """
    if not isinstance(result, Tensor) or not (result.is_floating_point() or result.is_complex()):
        return False
    return result.dim() > 0 and result.shape == _broadcast(args)


def _broadcast(args: tuple[Any, ...]) -> torch.Size:
    shapes = [arg.shape for arg in args if isinstance(arg, Tensor)]
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def fills_vectors(result: Tensor, args: tuple[Any, ...]) -> bool:
    """Whether every run's share of the inputs is a whole number of vectors, one run after the other."""
    inputs = [arg for arg in args if isinstance(arg, Tensor) and arg.dim() > 0]
    runs = result.shape[0] if result.dim() else 1
    whole = runs > 0 and (result.numel() // runs) % VECTORS == 0
    return whole and all(each.is_contiguous() and each.shape == result.shape for each in inputs)


class WholeVectors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives every pointwise operation whole vectors while it is on."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return blind(func, *args, **(kwargs or {}))
