"""Functions of torch's that a mapping over runs cannot take, or would spread over all runs, in ones that it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._C import _functorch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from shoal.step.attention import attention
from shoal.step.chosen import BY_FLAGS
from shoal.step.recurrent import LAYERS, is_padded, recurrent
from shoal.step.taken import item
from shoal.step.unfit import CannotStackError

_IN_PLACE = """
    scatter_ index_copy_ masked_scatter_ cumsum_ cumprod_ clamp_ clamp_min_ clamp_max_ clip_ addcmul_ addcdiv_ lerp_
    tril_ triu_
"""
"""Methods without a mapping of their own: torch would call them for each run, and warn of it."""

_EACH = "add sub mul div lerp copy zero neg sqrt pow addcmul addcdiv clamp_min clamp_max abs sign reciprocal"
"""What `torch._foreach_NAME` does to each tensor of a list, or `torch._foreach_NAME_` in place."""


class PerRun(TorchFunctionMode):
    """Replaces functions by ones that keep to each run."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _PER_RUN.get(func, func)(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in elementary operations."""
    shape = [1, -1] + [1] * (input.dim() - 2)
    if training:
        dims = [dim for dim in range(input.dim()) if dim != 1]
        mean = input.mean(dims)
        var = (input - mean.view(shape)).square().mean(dims)
        n = input.numel() // input.shape[1]
        if running_mean is not None and running_var is not None:
            # As in torch: the running variance is the unbiased one, and the batch is normed by the other.
            running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
            running_var.mul_(1 - momentum).add_(var.detach() * (momentum * n / (n - 1)))
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean, running_var
    normed = (input - mean.view(shape)) / (var + eps).sqrt().view(shape)
    scaled = normed if weight is None else normed * weight.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """What `torch.nn.utils.parametrizations.weight_norm` makes of direction and length, in elementary operations."""
    rest = [each for each in range(v.dim()) if each != dim]
    return v * (g / v.square().sum(rest, keepdim=True).sqrt())


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.normalize`, whose result is written into `out` where one is given."""
    # Spectral norm has its vectors written into `out`, which a mapping refuses of torch's own function.
    found = input / input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return found if out is None else out.copy_(found)


def column_stack(tensors: Sequence[Tensor], *, out: None = None) -> Tensor:
    """`torch.column_stack`, of which torch has no mapping."""
    return torch.cat([each.reshape(-1, 1) if each.dim() < 2 else each for each in tensors], 1)


def view(input: Tensor, *size: Any, **kwargs: Any) -> Tensor:
    """`torch.Tensor.view`; a copy where the numbers of a run lie apart in the stack, and do not where it is alone."""
    try:
        return input.view(*size, **kwargs)
    except RuntimeError:
        # To view as another type is no question of shape: no copy could stand for it.
        if not size or isinstance(size[0], torch.dtype):
            raise
        return input.reshape(*size)


def put(target: Tensor, place: Any, value: Any) -> None:
    """`target[place] = value`; of flags, where one value is put."""
    is_flags = isinstance(place, Tensor) and place.dtype is torch.bool
    if is_flags and (not isinstance(value, Tensor) or value.dim() == 0):
        # Putting by flags asks how many there are, which is another number in each run; choosing does not.
        flags = place.view(*place.shape, *[1] * (target.dim() - place.dim()))
        target.copy_(torch.where(flags, value, target))
    elif found := _behind_slices(target, place):
        dim, index = found
        dims, behind = [*range(dim, dim + index.dim())], [*range(index.dim())]
        if isinstance(value, Tensor):
            value = value.expand(*target.shape[:dim], *index.shape, *target.shape[dim + 1 :]).movedim(dims, behind)
        target.movedim(dim, 0)[index] = value
    else:
        target[place] = value


def _behind_slices(target: Tensor, place: Any) -> tuple[int, Tensor] | None:
    """The dimension and the only index of a place that has whole dimensions before it.

    Where each run has an index of its own, torch's mapping has the dimensions of what it puts there in another order.
    """
    if not isinstance(place, tuple):
        return None
    ellipsis = [n for n, each in enumerate(place) if each is Ellipsis]
    if ellipsis:
        whole = [slice(None)] * (target.dim() - len(place) + 1)
        place = (*place[: ellipsis[0]], *whole, *place[ellipsis[0] + 1 :])
    indices = [(dim, each) for dim, each in enumerate(place) if not _is_whole(each)]
    if len(indices) != 1 or not indices[0][0]:
        return None
    [(dim, index)] = indices
    is_own = isinstance(index, Tensor) and _functorch.is_functorch_wrapped_tensor(index)
    return (dim, index) if is_own and index.dim() and index.dtype is not torch.bool else None


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _in_place(name: str) -> Callable[..., Tensor]:
    """A method that changes its tensor, by the one that makes another."""
    function = getattr(torch.Tensor, name.removesuffix("_"))

    def changed(target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return target.copy_(function(target.clone(), *args, **kwargs))  # which the backward pass may look at

    return changed


def _of_each(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function of lists of tensors, as of averaged weights, by the one of each of them."""

    def of_each(tensors: Sequence[Tensor], *given: Any, **kwargs: Any) -> Any:
        rows = [each if isinstance(each, list | tuple) else [each] * len(tensors) for each in given]
        own: Callable[..., Tensor] = _PER_RUN.get(function, function)
        return [own(*row, **kwargs) for row in zip(tensors, *rows, strict=True)]

    return of_each


def data(tensor: Tensor) -> Tensor:
    """`tensor.data`, which a mapping has none of."""
    return tensor.detach()


def put_data(tensor: Tensor, value: Tensor) -> None:
    """`tensor.data = value`: a step finds it in its own place, as it is each run's."""
    if (tensor.shape, tensor.dtype) == (value.shape, value.dtype):
        tensor.detach().copy_(value.detach())
    else:
        tensor.data = value


@contextmanager
def no_inference() -> Iterator[None]:
    """Have `torch.inference_mode()` be `torch.no_grad()`: of its tensors a mapping can make no others."""
    before = torch._C._InferenceMode
    torch._C._InferenceMode = _WithoutGradient  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        torch._C._InferenceMode = before  # type: ignore[misc]


class _WithoutGradient:
    """Stands where inference mode does."""

    def __init__(self, mode: bool) -> None:
        self._context = torch.no_grad() if mode else torch.enable_grad()

    def __enter__(self) -> None:
        self._context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)


def _recurrent(function: Callable[..., Any]) -> Callable[..., Any]:
    def layers(*args: Any) -> Any:
        return recurrent(function, args) if is_padded(args) else function(*args)

    return layers


def _no_gradient(value: Tensor, *_: Any) -> NoReturn:
    raise CannotStackError(
        "looks at the gradient that the step before has left (.grad), which no stack keeps",
        "its norm is logged by itself, and trainer.gradient_clip_val clips it",
    )


_PER_RUN: dict[Any, Callable[..., Any]] = {
    functional.batch_norm: batch_norm,
    torch._weight_norm: weight_norm,
    functional.normalize: normalize,
    # Its kernel for the CPU has no mapping: torch would call it for each run.
    functional.scaled_dot_product_attention: attention,
    torch.column_stack: column_stack,
    torch.Tensor.view: view,
    torch.Tensor.__setitem__: put,
    torch.Tensor.item: item,
    torch.Tensor.grad.__get__: _no_gradient,  # type: ignore[union-attr]
    torch.Tensor.data.__get__: data,  # type: ignore[attr-defined]
    torch.Tensor.data.__set__: put_data,  # type: ignore[attr-defined]
    **BY_FLAGS,
    **{
        getattr(torch, f"_foreach_{name}"): _of_each(getattr(torch.Tensor, name))
        for name in [*_EACH.split(), *(f"{name}_" for name in _EACH.split())]
        if hasattr(torch, f"_foreach_{name}") and hasattr(torch.Tensor, name)
    },
    **{getattr(torch.Tensor, name): _in_place(name) for name in _IN_PLACE.split()},
    **{function: _recurrent(function) for function in LAYERS},
}
