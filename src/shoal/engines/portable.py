"""Kernels with the same bits on every processor, in the place of those of torch that have not.

Torch leaves the square root, the logarithms and four trigonometric functions to MKL, which takes approximate
reciprocals for them, an instruction that AMD and Intel each have with values of their own; so does its Cholesky
decomposition of float32. MKL_CBWR=COMPATIBLE should keep it from that, and does not. Everything that is made
of these functions, an optimizer's step or a loss, comes by the new ones: they stand where torch looks a kernel up.
OneDNN and NNPACK are left out: they cut their work up by the size of the caches.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy
import torch
from torch import Tensor

from shoal.errors import ShoalError

Function = Callable[..., Tensor]

_REAL = (torch.float32, torch.float64)
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
"""ln 2 in two parts, of which the first has so few digits that its product with an exponent is exact."""
_LOG10_2_HIGH = float.fromhex("0x1.34413509e0000p-2")
_LOG10_2_LOW = math.log10(2) - _LOG10_2_HIGH


@cache
def install() -> None:
    """Have this process compute with these kernels, from now to its end.

    Raises:
        ShoalError: where this version of torch does not let them call its own for what they do not compute themselves.
    """
    if not hasattr(torch.library, "get_kernel"):
        raise ShoalError(f"numerics=portable needs torch 2.9 or newer; this is {torch.__version__}")
    backends: Any = torch.backends
    backends.mkldnn.set_flags(False)
    backends.nnpack.set_flags(False)
    with warnings.catch_warnings():
        # Torch warns that a kernel of its own is replaced, which is what is meant.
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        for name, function in FUNCTIONS.items():
            _replace(name, f"{name}.out", f"{name}_", function)
        _replace("pow.Tensor_Scalar", "pow.Tensor_Scalar_out", "pow_.Scalar", _root, when=_is_root)
        _register("linalg_cholesky_ex", _cholesky(_original("linalg_cholesky_ex")))


def _replace(
    plain: str, out: str, in_place: str, function: Function, when: Callable[..., bool] = lambda *_: True
) -> None:
    """Have the three forms of an operation computed by `function`, for real numbers and where `when` says so."""

    def computed(x: Tensor, *given: Any) -> Tensor | None:
        if x.is_complex() or x.dtype in (torch.float16, torch.bfloat16) or not when(*given):
            return None
        return function(x if x.dtype in _REAL else x.to(torch.get_default_dtype()), *given)

    own, own_out, own_in_place = map(_original, (plain, out, in_place))

    def new(keys: Any, x: Tensor, *given: Any) -> Any:
        found = computed(x, *given)
        return own.call_boxed(keys, x, *given) if found is None else found

    def into(keys: Any, x: Tensor, *given: Any, out: Tensor) -> Any:
        found = computed(x, *given)
        if found is None:
            return own_out.call_boxed(keys, x, *given, out=out)
        return (out if out.shape == found.shape else out.resize_(found.shape)).copy_(found)

    def over(keys: Any, x: Tensor, *given: Any) -> Any:
        found = computed(x, *given)
        return own_in_place.call_boxed(keys, x, *given) if found is None else x.copy_(found)

    for name, kernel in ((plain, new), (out, into), (in_place, over)):
        _register(name, kernel)


def _original(name: str) -> Any:
    return torch.library.get_kernel(f"aten::{name}", "CPU")


def _register(name: str, kernel: Function) -> None:
    _library().impl(name, kernel, "CPU", with_keyset=True)


@cache
def _library() -> Any:
    """What the kernels are registered through; they are gone when it is."""
    kind: Any = torch.library.Library
    return kind("aten", "IMPL")


def _sqrt(x: Tensor) -> Tensor:
    """The root as IEEE 754 has it, by the processor's own instruction."""
    found = torch.empty_like(x)
    with numpy.errstate(all="ignore"):
        numpy.sqrt(x.detach().numpy(), out=found.numpy())
    return found


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """The exponent e and ln(m) of x = m 2^e with m near 1, as doubles; m - 1 is exact."""
    # frexp gives 0.5 <= m < 1. From sqrt(1/2) to sqrt(2) ln(m) is small where x is near 1, and cancels nothing there.
    mantissa, exponent = torch.frexp(x.double())
    small = mantissa < math.sqrt(0.5)
    return exponent.double() - small.double(), torch.log1p(torch.where(small, 2 * mantissa, mantissa) - 1)


def _log(x: Tensor) -> Tensor:
    exponent, rest = _parts(x)
    # e ln 2 + ln m: the small parts are added first, so that only the last addition rounds what is large.
    return (exponent * _LN2_HIGH + (exponent * _LN2_LOW + rest)).to(x.dtype)


def _log2(x: Tensor) -> Tensor:
    exponent, rest = _parts(x)
    return (exponent + rest / math.log(2)).to(x.dtype)


def _log10(x: Tensor) -> Tensor:
    exponent, rest = _parts(x)
    # e log 2 + ln m / ln 10, in the same order.
    return (exponent * _LOG10_2_HIGH + (exponent * _LOG10_2_LOW + rest / math.log(10))).to(x.dtype)


def _logit(x: Tensor, eps: float | None = None) -> Tensor:
    clamped = (x if eps is None else x.clamp(eps, 1 - eps)).double()
    return torch.log(clamped / (1 - clamped)).to(x.dtype)


def _atan(x: Tensor) -> Tensor:
    # Not one of MKL's: torch has a kernel of its own for atan2.
    return torch.atan2(x, torch.ones_like(x))


def _asin(x: Tensor) -> Tensor:
    # Not sqrt(1 - x * x), whose difference cancels where x is near 1.
    return torch.atan2(x, torch.sqrt((1 - x) * (1 + x)))


def _acos(x: Tensor) -> Tensor:
    return torch.atan2(torch.sqrt((1 - x) * (1 + x)), x)


def _tan(x: Tensor) -> Tensor:
    x64 = x.double()
    return (torch.sin(x64) / torch.cos(x64)).to(x.dtype)


def _is_root(exponent: float) -> bool:
    return exponent == 0.5


def _root(x: Tensor, exponent: float) -> Tensor:
    del exponent
    return torch.sqrt(x)


def _cholesky(own: Any) -> Function:
    """Torch's decomposition, in double precision, which is right to the last bits of the other too."""

    def factor(keys: Any, x: Tensor, **how: Any) -> Any:
        if x.dtype != torch.float32:
            return own.call_boxed(keys, x, **how)
        found, info = own.call_boxed(keys, x.double(), **how)
        return found.float(), info

    return factor


FUNCTIONS: dict[str, Function] = {
    "sqrt": _sqrt,
    "log": _log,
    "log2": _log2,
    "log10": _log10,
    "logit": _logit,
    "atan": _atan,
    "asin": _asin,
    "acos": _acos,
    "tan": _tan,
}
"""By the operation whose place they take."""
