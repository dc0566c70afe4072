"""Pointwise operations: the same bits for an element wherever in the stack it stands, on whatever processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from shoal.engines.stack.steady import steady
from shoal.step.blind import EXACT, WholeVectors

aten = torch.ops.aten

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, -1e-40, 1e38, -1e38, float("inf"), -float("inf"), float("nan")]
OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": lambda a, b, c: a + b,
    "add a multiple": lambda a, b, c: torch.add(a, b, alpha=0.3),
    "sub": lambda a, b, c: a - b,
    "mul": lambda a, b, c: a * b,
    "div": lambda a, b, c: a / b,
    "neg": lambda a, b, c: -a,
    "abs": lambda a, b, c: a.abs(),
    "sign": lambda a, b, c: a.sign(),
    "square": lambda a, b, c: a**2,
    "sqrt": lambda a, b, c: a.abs().sqrt(),
    "reciprocal": lambda a, b, c: a.reciprocal(),
    "round": lambda a, b, c: a.round(),
    "floor": lambda a, b, c: a.floor(),
    "ceil": lambda a, b, c: a.ceil(),
    "maximum": lambda a, b, c: torch.maximum(a, b),
    "minimum": lambda a, b, c: torch.minimum(a, b),
    "clamp": lambda a, b, c: a.clamp(0.0, 0.5),
    "clamp between tensors": lambda a, b, c: torch.clamp(a, b, c),
    "clamp from below": lambda a, b, c: aten.clamp_min(a, 0.0),
    "clamp from above": lambda a, b, c: aten.clamp_max(a, 0.0),
    "relu": lambda a, b, c: a.relu(),
    "relu, backward": lambda a, b, c: aten.threshold_backward(a, b, 0),
    "relu6": lambda a, b, c: functional.relu6(a),
    "leaky relu": lambda a, b, c: functional.leaky_relu(a, 0.2),
    "where": lambda a, b, c: torch.where(a > b, b, c),
    "masked fill": lambda a, b, c: a.masked_fill(b > c, 0.1),
    "rsqrt": lambda a, b, c: a.abs().rsqrt(),
    "cube": lambda a, b, c: a**3,
    "lerp": lambda a, b, c: torch.lerp(a, b, c),
    "addcmul": lambda a, b, c: torch.addcmul(a, b, c, value=0.7),
    "addcdiv": lambda a, b, c: torch.addcdiv(a, b, c, value=0.7),
    "tanh": lambda a, b, c: a.tanh(),
    "exp": lambda a, b, c: a.exp(),
    **{
        each.__name__: lambda a, b, c, each=each: each(a, b)  # type: ignore[misc]
        for each in (torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge)
    },
    "isnan": lambda a, b, c: a.isnan(),
}
PLACES = 80


@pytest.fixture(autouse=True)
def computing_as_a_stack_does() -> Iterator[None]:
    with steady(), WholeVectors():  # type: ignore[no-untyped-call]
        yield


def numbers(seed: int, dtype: torch.dtype) -> Tensor:
    """Numbers every second of which is a special one; zeros of both signs meet again and again."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(PLACES, generator=generator, dtype=torch.float64)
    special = torch.tensor([*SPECIAL, *[0.0, -0.0] * 6], dtype=torch.float64)
    chosen = special[torch.randint(len(special), (PLACES,), generator=generator)]
    return torch.where(torch.rand(PLACES, generator=generator) < 0.5, chosen, drawn).to(dtype)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two have the same bits; what is not a number may be any."""
    bits = {torch.float32: torch.int32, torch.float64: torch.int64}.get(one.dtype, one.dtype)
    return bool(((one.view(bits) == other.view(bits)) | (one.isnan() & other.isnan())).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_element_has_the_same_bits_at_every_place(operation: Callable[..., Tensor], dtype: torch.dtype) -> None:
    inputs = [numbers(seed, dtype) for seed in range(3)]

    whole = operation(*inputs)

    assert all(same(operation(*(each[:n] for each in inputs)), whole[:n]) for n in range(1, PLACES))
    assert same(operation(*(torch.stack([each, each], 1)[:, 0] for each in inputs)), whole)


def test_every_operation_on_numbers_that_is_taken_as_exact_is_compared() -> None:
    inputs = [numbers(seed, torch.float32) for seed in range(3)]
    traced = [make_fx(lambda *given, f=operation: f(*given))(*inputs).graph for operation in OPERATIONS.values()]
    compared = {node.target.overloadpacket for graph in traced for node in graph.nodes if node.op == "call_function"}

    written = """clone copy _to_copy fill ones_like zeros_like full_like isfinite
        logical_and logical_or logical_not bitwise_and bitwise_or bitwise_xor bitwise_not
        bitwise_left_shift bitwise_right_shift __lshift__ __rshift__"""
    assert EXACT - compared <= {getattr(aten, name) for name in written.split()}
