"""What torch's functions that draw at random give with the numbers of `Draws`: a replacement for each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shoal.step.attention import attention
from shoal.step.drawn.numbers import NotDrawnError, RandomNumbers
from shoal.step.recurrent import LAYERS, recurrent

Replacement = Callable[..., Any]
"""Given the draws of the step, and then what the function was given."""

_SELU = 1.7580993408473766
"""Times the scale of SELU its negative limit: the value that alpha dropout drops to."""


def _shape(size: Sequence[Any]) -> list[int]:
    [first, *rest] = size or [[]]
    return [int(n) for n in (first if isinstance(first, Sequence) and not rest else size)]


def _made(number: Callable[[RandomNumbers, list[int], torch.dtype], Tensor]) -> Replacement:
    """Of a function that makes a tensor of a given size."""

    def made(
        draws: RandomNumbers, *size: Any, dtype: torch.dtype | None = None, requires_grad: bool = False, **kwargs: Any
    ) -> Tensor:
        shape = _shape(kwargs.pop("size", size))
        _plain(kwargs)
        found = number(draws, shape, dtype or torch.get_default_dtype())
        return found.requires_grad_() if requires_grad else found

    return made


def _like(number: Callable[[RandomNumbers, list[int], torch.dtype], Tensor]) -> Replacement:
    """Of a function that makes a tensor like another one."""

    def like(
        draws: RandomNumbers,
        other: Tensor,
        *,
        dtype: torch.dtype | None = None,
        requires_grad: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        _plain(kwargs)
        found = number(draws, list(other.shape), dtype or other.dtype)
        return found.requires_grad_() if requires_grad else found

    return like


def _plain(kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that are not followed."""
    if any(value is not None and name not in ("device", "layout", "pin_memory") for name, value in kwargs.items()):
        raise NotDrawnError


def _in_place(number: Callable[..., Tensor]) -> Replacement:
    """Of a method that fills a tensor."""

    def fill(draws: RandomNumbers, target: Tensor, *args: Any, generator: None = None, **kwargs: Any) -> Tensor:
        return target.copy_(number(draws, target, *args, **kwargs))

    return fill


def _uniform(draws: RandomNumbers, target: Tensor, low: float = 0.0, high: float = 1.0, **named: float) -> Tensor:
    low, high = named.get("from", low), named.get("to", high)
    return draws.uniform(list(target.shape), target.dtype) * (high - low) + low


def _normal(draws: RandomNumbers, target: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return draws.normal(list(target.shape), target.dtype) * std + mean


def _exponential(draws: RandomNumbers, target: Tensor, lambd: float = 1.0) -> Tensor:
    return draws.exponential(list(target.shape), target.dtype) / lambd


def _log_normal(draws: RandomNumbers, target: Tensor, mean: float = 1.0, std: float = 2.0) -> Tensor:
    return _normal(draws, target, mean, std).exp()


def _cauchy(draws: RandomNumbers, target: Tensor, median: float = 0.0, sigma: float = 1.0) -> Tensor:
    return median + sigma * (math.pi * (draws.inner(list(target.shape), target.dtype) - 0.5)).tan()


def _geometric(draws: RandomNumbers, target: Tensor, p: float) -> Tensor:
    return (draws.inner(list(target.shape), target.dtype).log() / math.log1p(-p)).ceil()


def _flags(draws: RandomNumbers, target: Tensor, p: Any = 0.5) -> Tensor:
    """Whether, as numbers: of one probability, or of those of each element."""
    if isinstance(p, Tensor):
        found = draws.uniform(list(target.shape), p.dtype if p.is_floating_point() else torch.float32) < p
    else:
        found = draws.happens(p, list(target.shape))
    return found.to(target.dtype)


def _bernoulli(draws: RandomNumbers, input: Tensor, p: float | None = None, *, generator: None = None) -> Tensor:
    return _flags(draws, input, input if p is None else p)


def _random(draws: RandomNumbers, target: Tensor, *limits: int, **named: int) -> Tensor:
    given = [*limits, *(named[name] for name in ("from", "to") if name in named)]
    if not given or given[-1] is None:
        raise NotDrawnError
    low, high = (0, *given)[-2:]
    return draws.whole(low, high, list(target.shape)).to(target.dtype)


def _randint(draws: RandomNumbers, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
    args = (
        *args,
        *([kwargs.pop("high")] if "high" in kwargs else []),
        *([kwargs.pop("size")] if "size" in kwargs else []),
    )
    low = kwargs.pop("low", None)
    *limits, size = args if low is None else (low, *args)
    _plain(kwargs)
    bottom, top = (0, *limits)[-2:]
    found = draws.whole(bottom, top, _shape([size]))
    return found if dtype is None else found.to(dtype)


def _randint_like(
    draws: RandomNumbers, other: Tensor, *limits: int, dtype: torch.dtype | None = None, **kwargs: Any
) -> Tensor:
    given = [*limits, *(kwargs.pop(name) for name in ("low", "high") if name in kwargs)]
    _plain(kwargs)
    low, high = (0, *given)[-2:]
    return draws.whole(low, high, list(other.shape)).to(dtype or other.dtype)


def _randperm(draws: RandomNumbers, n: int, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
    _plain(kwargs)
    return draws.order(n).to(dtype or torch.int64)


def _normal_between(
    draws: RandomNumbers, mean: Any, std: Any = 1.0, size: Sequence[int] | None = None, **kwargs: Any
) -> Tensor:
    dtype = kwargs.pop("dtype", None)
    _plain(kwargs)
    known = [each for each in (mean, std) if isinstance(each, Tensor)]
    shape = torch.broadcast_shapes(*(each.shape for each in known)) if known else size  # type: ignore[no-untyped-call]
    if shape is None:
        raise NotDrawnError
    kind = known[0].dtype if known else dtype or torch.get_default_dtype()
    found: Tensor = draws.normal(list(shape), kind) * std + mean
    return found


def _multinomial(
    draws: RandomNumbers, input: Tensor, num_samples: int, replacement: bool = False, *, generator: None = None
) -> Tensor:
    if not replacement or num_samples == 1:  # the least of exponential numbers of these rates
        times = draws.exponential(list(input.shape), input.dtype) / input
        return times.topk(num_samples, largest=False).indices
    shares = input.cumsum(-1)
    place = draws.uniform([*input.shape[:-1], num_samples], input.dtype) * shares[..., -1:]
    return (place[..., None] >= shares[..., None, :]).sum(-1).clamp(max=input.shape[-1] - 1)


def _dropout(draws: RandomNumbers, input: Tensor, p: float, train: bool) -> Tensor:
    return input * _kept(draws, input, p, list(input.shape)) if train and p else input


def _feature_dropout(draws: RandomNumbers, input: Tensor, p: float, train: bool) -> Tensor:
    return input * _kept(draws, input, p, _features(input)) if train and p else input


def _features(input: Tensor) -> list[int]:
    """A number for each channel of each sample."""
    return [*input.shape[:2], *[1] * (input.dim() - 2)]


def _kept(draws: RandomNumbers, input: Tensor, p: float, shape: list[int]) -> Tensor:
    """The factor of each number: zero, or what keeps the mean."""
    if p == 1:  # of which the factor below would be infinite
        return input.new_zeros(())
    return draws.happens(1 - p, shape).to(input.dtype) * (1 / (1 - p))


def _alpha_dropout(draws: RandomNumbers, input: Tensor, p: float, train: bool, *, features: bool = False) -> Tensor:
    """Source: Klambauer et al., Self-Normalizing Neural Networks, 2017."""
    if not train or not p:
        return input
    if p == 1:
        return input * 0
    kept = draws.happens(1 - p, _features(input) if features else list(input.shape)).to(input.dtype)
    scale = 1 / math.sqrt((_SELU**2 * p + 1) * (1 - p))
    return input * (kept * scale) + ((kept - 1) * (_SELU * scale) + _SELU * scale * p)


def _feature_alpha_dropout(draws: RandomNumbers, input: Tensor, p: float, train: bool) -> Tensor:
    return _alpha_dropout(draws, input, p, train, features=True)


def _rrelu(
    draws: RandomNumbers,
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    **kwargs: Any,
) -> Tensor:
    if not training:
        return functional.leaky_relu(input, (lower + upper) / 2)
    slope = draws.uniform(list(input.shape), input.dtype) * (upper - lower) + lower
    return input.clamp(min=0) + input.clamp(max=0) * slope


def _written(function: Replacement) -> Replacement:
    """The same, its result put in the place of what was given."""

    def written(draws: RandomNumbers, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input.copy_(function(draws, input, *args, **kwargs))

    return written


def _attention(draws: RandomNumbers, query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    p = args[3] if len(args) > 3 else kwargs["dropout_p"]
    return attention(query, *args, **kwargs, dropped=lambda weights: _dropout(draws, weights, p, True))


def _recurrent(function: Any) -> Replacement:
    def layers(draws: RandomNumbers, *args: Any) -> tuple[Tensor, Tensor]:
        return recurrent(function, args, lambda value, p: _dropout(draws, value, p, True))

    return layers


_METHODS: dict[str, Callable[..., Tensor]] = {
    "uniform_": _uniform,
    "normal_": _normal,
    "exponential_": _exponential,
    "log_normal_": _log_normal,
    "cauchy_": _cauchy,
    "geometric_": _geometric,
    "bernoulli_": _flags,
    "random_": _random,
}
_DROPOUTS: dict[str, Replacement] = {
    "dropout": _dropout,
    "feature_dropout": _feature_dropout,
    "alpha_dropout": _alpha_dropout,
    "feature_alpha_dropout": _feature_alpha_dropout,
    "rrelu": _rrelu,
}
REPLACEMENTS: dict[Any, Replacement] = {
    torch.rand: _made(lambda draws, *form: draws.uniform(*form)),
    torch.randn: _made(lambda draws, *form: draws.normal(*form)),
    torch.rand_like: _like(lambda draws, *form: draws.uniform(*form)),
    torch.randn_like: _like(lambda draws, *form: draws.normal(*form)),
    torch.randint: _randint,
    torch.randint_like: _randint_like,
    torch.randperm: _randperm,
    torch.normal: _normal_between,
    torch.bernoulli: _bernoulli,
    torch.Tensor.bernoulli: _bernoulli,
    torch.multinomial: _multinomial,
    torch.Tensor.multinomial: _multinomial,
    functional.scaled_dot_product_attention: _attention,
    **{getattr(torch.Tensor, name): _in_place(number) for name, number in _METHODS.items()},
    **{getattr(torch, name): function for name, function in _DROPOUTS.items()},
    **{function: _recurrent(function) for function in LAYERS},
    **{getattr(torch, f"{name}_"): _written(function) for name, function in _DROPOUTS.items()},
}
"""By function of torch's."""
