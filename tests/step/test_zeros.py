"""The larger and the smaller of two numbers in C: of 0 and -0 as torch's kernels take it, on each kind of processor."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import pytest

from shoal.step.compiled import operations
from shoal.step.compiled.library import Library

pytestmark = pytest.mark.usefixtures("compiled_at_once")

Taken = Callable[[float, float], float]
NUMBERS = (0.0, -0.0, 1.5, -1.5, math.inf, -math.inf)
KINDS = pytest.mark.parametrize("suffix", ["f", ""], ids=["float32", "float64"])


def in_c(suffix: str) -> tuple[Taken, Taken]:
    """The functions of C, `maximum` and `minimum`."""
    number = ctypes.c_float if suffix else ctypes.c_double
    kind = "float" if suffix else "double"
    library = Library(
        operations.definitions()
        + "".join(
            f"{kind} {name}_called({kind} x, {kind} y) {{ return {name}{suffix}(x, y); }}\n"
            for name in ("maximum", "minimum")
        )
    )
    assert library.ready()
    functions = library.functions()
    for function in (functions.maximum_called, functions.minimum_called):
        function.argtypes, function.restype = [number, number], number
    return functions.maximum_called, functions.minimum_called


def bits(value: float) -> tuple[float, float]:
    return value, math.copysign(1, value)


@KINDS
def test_zero_is_larger_than_its_negative_where_torch_takes_it_so(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_orders_zeros", lambda: True)

    maximum, minimum = in_c(suffix)

    for x in NUMBERS:
        for y in NUMBERS:
            smaller, larger = sorted((x, y), key=bits)
            assert bits(maximum(x, y)) == bits(larger)
            assert bits(minimum(x, y)) == bits(smaller)


@KINDS
def test_the_second_of_two_zeros_is_taken_where_torch_takes_it(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_orders_zeros", lambda: False)

    maximum, minimum = in_c(suffix)

    for x, y in ((0.0, -0.0), (-0.0, 0.0), (1.5, -1.5), (-1.5, 1.5)):
        assert bits(maximum(x, y)) == bits(y if x == y else max(x, y))
        assert bits(minimum(x, y)) == bits(y if x == y else min(x, y))


@pytest.mark.parametrize("ordered", [True, False])
@KINDS
def test_what_is_not_a_number_stays_so(ordered: bool, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_orders_zeros", lambda: ordered)

    for taken in in_c(suffix):
        assert all(math.isnan(taken(x, y)) for x, y in ((math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan)))
